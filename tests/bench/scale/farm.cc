#include "tests/bench/scale/farm.h"

#include <algorithm>
#include <cstdio>

namespace regroup::bench {
namespace {

constexpr std::int64_t kTickMs = 2;
constexpr std::int64_t kRestartMs = 1500;  // a kubelet looks once a second, then starts a container
constexpr std::int64_t kStartRetryMs = 200;

}  // namespace

Farm::Farm(asio::io_context& io, const Clock& clock, const std::string& recorded_info,
           EventFn on_event, RestartedFn on_restarted)
    : io_(io), clock_(clock), info_(recorded_info), on_event_(std::move(on_event)),
      on_restarted_(std::move(on_restarted)), world_behind_ms_(clock.Now() - world_.Now()),
      tick_(io) {
  engines_.AddObserver(this);
  Tick();
}

void Farm::Tick() {
  Advance();
  tick_.expires_after(std::chrono::milliseconds(kTickMs));
  tick_.async_wait([this](const asio::error_code& cancelled) {
    if (!cancelled) Tick();
  });
}

// Runs what the model had planned up to the present instant.
void Farm::Advance() {
  const std::int64_t ahead_ms = clock_.Now() - world_behind_ms_ - world_.Now();
  if (ahead_ms <= 0) return;
  bool there = false;
  world_.After(ahead_ms, [&there] { there = true; });
  while (!there) world_.RunOne();
}

void Farm::Seen(const PodFacts& pod) {
  if (pod.address.empty() || !pod.running || processes_.count(pod.uid) > 0) return;
  auto process = std::make_unique<Process>();
  process->pod = pod;
  Process& started = *processes_.emplace(pod.uid, std::move(process)).first->second;
  if (!Start(started)) RestartLater(pod.uid);
}

bool Farm::Start(Process& process) {
  Advance();
  const PodFacts& pod = process.pod;
  asio::error_code error;
  const asio::ip::tcp::endpoint endpoint{asio::ip::make_address(pod.address, error),
                                         static_cast<unsigned short>(pod.port)};
  auto acceptor = std::make_unique<asio::ip::tcp::acceptor>(io_);
  if (!error) acceptor->open(endpoint.protocol(), error);
  if (!error) acceptor->set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor->bind(endpoint, error);
  if (!error) acceptor->listen(128, error);
  if (error || engines_.Alive(pod.address, pod.port) != nullptr) {
    std::fprintf(stderr, "%s at %s: %s\n", pod.name.c_str(), pod.address.c_str(),
                 error ? error.message().c_str() : "another engine is there");
    return false;
  }
  process.acceptor = std::move(acceptor);
  process.engine = engines_.Start(pod.uid, pod.name, pod.address, pod.port, pod.node, {});
  process.engine->StopFeeding();
  Accept(pod.uid);
  return true;
}

void Farm::RestartLater(const std::string& uid) {
  const std::int64_t delay_ms = processes_[uid]->engine == nullptr ? kStartRetryMs : kRestartMs;
  auto timer = std::make_shared<asio::steady_timer>(io_);
  timer->expires_after(std::chrono::milliseconds(delay_ms));
  timer->async_wait([this, uid, timer](const asio::error_code&) {
    const auto found = processes_.find(uid);
    if (found == processes_.end()) return;
    Process& process = *found->second;
    const bool first = process.engine == nullptr;
    if (!Start(process)) return RestartLater(uid);
    if (!first) on_restarted_(process.pod, clock_.WallNow(), ++process.restarts);
  });
}

void Farm::Accept(const std::string& uid) {
  Process& process = *processes_[uid];
  process.acceptor->async_accept([this, uid, engine = process.engine](
                                     const asio::error_code& error, asio::ip::tcp::socket socket) {
    const auto found = processes_.find(uid);
    if (error || found == processes_.end() || found->second->engine != engine) return;
    Process& owner = *found->second;
    auto client = std::make_shared<FarmClient>(std::move(socket), engine, &info_);
    FarmClient::Hooks hooks;
    hooks.before = [this] { Advance(); };
    hooks.changed = [this, uid] { CutOff(uid); };
    hooks.closed = [this, uid, weak = std::weak_ptr<FarmClient>(client)] {
      const auto of = processes_.find(uid);
      if (of != processes_.end()) of->second->clients.erase(weak.lock());
    };
    owner.clients.insert(client);
    client->Start(std::move(hooks));
    Accept(uid);
  });
}

// CLIENT KILL took connections from the engine: their sockets end, too.
void Farm::CutOff(const std::string& uid) {
  const auto found = processes_.find(uid);
  if (found == processes_.end()) return;
  std::vector<std::shared_ptr<FarmClient>> cut;
  for (const auto& client : found->second->clients) {
    if (client->CutOff()) cut.push_back(client);
  }
  for (const auto& client : cut) {
    found->second->clients.erase(client);
    client->Close();
  }
}

void Farm::CloseSockets(Process& process) {
  if (process.acceptor) {
    asio::error_code ignored;
    process.acceptor->close(ignored);
    process.acceptor.reset();
  }
  std::set<std::shared_ptr<FarmClient>> clients;
  clients.swap(process.clients);
  for (const auto& client : clients) client->Close();
}

void Farm::Kill(const std::vector<std::string>& addresses) {
  Advance();
  const std::set<std::string> wanted(addresses.begin(), addresses.end());
  for (const auto& [uid, process] : processes_) {
    if (wanted.count(process->pod.address) > 0 && process->engine != nullptr) {
      process->engine->Kill();
    }
  }
}

void Farm::Gone(const std::string& uid) {
  const auto found = processes_.find(uid);
  if (found == processes_.end()) return;
  found->second->ending = true;
  if (found->second->engine != nullptr) found->second->engine->Kill();
  CloseSockets(*found->second);
  processes_.erase(found);
}

void Farm::OnPromoted(const sim::Engine& engine) {
  const auto found = processes_.find(engine.pod_uid());
  if (found != processes_.end()) on_event_({"promoted", found->second->pod, clock_.Now()});
}

void Farm::OnDeath(const sim::Engine& engine) {
  const auto found = processes_.find(engine.pod_uid());
  if (found == processes_.end() || found->second->engine != &engine) return;
  CloseSockets(*found->second);
  if (found->second->ending) return;
  on_event_({"killed", found->second->pod, clock_.Now()});
  RestartLater(engine.pod_uid());
}

FarmCounts Farm::Counts() const {
  FarmCounts counts;
  for (const auto& [uid, process] : processes_) {
    counts.engines += process->acceptor != nullptr ? 1 : 0;
    counts.connections += process->clients.size();
  }
  return counts;
}

}  // namespace regroup::bench
