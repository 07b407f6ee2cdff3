#include "tests/sim/fake_engine.h"

#include <algorithm>

#include "operator/base/check.h"

namespace regroup::sim {
namespace {

constexpr std::int64_t kCronMs = 1000;       // replicationCron
constexpr std::int64_t kPingBytes = 14;
constexpr std::int64_t kWriteBytes = 50;
constexpr std::int64_t kBlockedRetryMs = 25;  // how soon buffered bytes are tried again
constexpr char kZeroId[] = "0000000000000000000000000000000000000000";

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

template <typename Value>
std::string Line(const std::string& key, const Value& value) {
  if constexpr (std::is_arithmetic_v<Value>) {
    return key + ":" + std::to_string(value) + "\r\n";
  } else {
    return key + ":" + value + "\r\n";
  }
}

}  // namespace

Engine* Engines::Start(const std::string& pod_uid, const std::string& name,
                       const std::string& address, int port, const std::string& node,
                       const EngineConfig& config) {
  RG_CHECK(Alive(address, port) == nullptr, "two processes at one address");
  SetAddressUp(address, true);
  engines_.push_back(
      std::make_unique<Engine>(this, pod_uid, name, address, port, node, config));
  return engines_.back().get();
}

void Engines::StartStranger(const std::string& address, int port, const std::string& node) {
  RG_CHECK(Alive(address, port) == nullptr, "two processes at one address");
  SetAddressUp(address, true);
  EngineConfig config;
  config.born_fenced = false;
  config.disk = history_->Append(History::kEmpty, true);
  strangers_.push_back(
      std::make_unique<Engine>(this, "stranger", "stranger", address, port, node, config));
  strangers_.back()->stranger_ = true;
  strangers_.back()->StartBacklog();
}

void Engines::EndStranger(const std::string& address) {
  for (const auto& stranger : strangers_) {
    if (!stranger->alive() || stranger->address() != address) continue;
    stranger->Kill();
    SetAddressUp(address, false);
  }
}

bool Engines::StrangerAt(const std::string& address) const {
  return std::any_of(strangers_.begin(), strangers_.end(), [&](const auto& stranger) {
    return stranger->alive() && stranger->address() == address;
  });
}

Engine* Engines::Alive(const std::string& address, int port) const {
  for (const auto* some : {&engines_, &strangers_}) {
    for (const auto& engine : *some) {
      if (engine->alive() && engine->address() == address && engine->port() == port) {
        return engine.get();
      }
    }
  }
  return nullptr;
}

std::string Engines::HostAt(const std::string& address) const {
  for (const auto& stranger : strangers_) {
    if (stranger->alive() && stranger->address() == address) return stranger->node();
  }
  for (auto it = engines_.rbegin(); it != engines_.rend(); ++it) {
    if ((*it)->address() == address) return (*it)->node();
  }
  return "";
}

Engine* Engines::AliveOfPod(const std::string& pod_uid) const {
  for (const auto& engine : engines_) {
    if (engine->alive() && engine->pod_uid() == pod_uid) return engine.get();
  }
  return nullptr;
}

void Engines::SetAddressUp(const std::string& address, bool up) {
  if (up) {
    up_.insert(address);
  } else {
    up_.erase(address);
  }
}

Engine::Engine(Engines* engines, std::string pod_uid, std::string name, std::string address,
               int port, std::string node, const EngineConfig& config)
    : engines_(engines), pod_uid_(std::move(pod_uid)), name_(std::move(name)),
      address_(std::move(address)), port_(port), node_(std::move(node)), config_(config),
      run_id_(engines->world().NewHex40()), started_at_(engines->world().Now()),
      wall_phase_ms_(engines->world().Between(0, 999)), repl_id_(engines->world().NewHex40()),
      repl_id2_(kZeroId), head_(config.disk), synced_head_(config.disk) {
  if (config.born_fenced) {
    primary_host_ = "127.0.0.1";
    primary_port_ = 1;
    link_ = Link::kConnecting;
  }
  was_primary_ = !config.born_fenced;
  loading_until_ = world().Now() + config.loading_ms;
  world().After(world().Between(1, kCronMs), [this] { Cron(); });
}

std::int64_t Engine::UnixSeconds() const {
  return (world().WallNow() + wall_phase_ms_) / 1000;
}

bool Engine::Talks(const Engine& other) const {
  return engines_->network().BothWays(node_, other.node_);
}

Engine::Attached* Engine::Find(const Engine* replica) {
  for (Attached& attached : replicas_) {
    if (attached.replica == replica) return &attached;
  }
  return nullptr;
}

void Engine::Kill() {
  if (!alive_) return;
  alive_ = false;
  frozen_ = busy_ = false;
  controls_.clear();
  clients_.clear();
  if (!stranger_) {
    for (EngineObserver* observer : engines_->observers()) observer->OnDeath(*this);
  }
  // The kernel closes its sockets: whoever the network lets hear it sees the end at once.
  for (const Attached& attached : std::vector<Attached>(replicas_)) {
    Engine* replica = attached.replica;
    if (!Talks(*replica)) continue;
    world().After(world().Between(0, 2), [this, replica] {
      if (replica->alive_ && replica->source_ == this) replica->DropLink();
    });
  }
  if (source_ != nullptr && Talks(*source_)) source_->Detach(this);
}

void Engine::Freeze() {
  if (!alive_ || frozen_) return;
  frozen_ = true;
  frozen_since_ = world().Now();
}

void Engine::RunScript(std::int64_t ms) {
  if (!alive_ || frozen_ || loading()) return;
  Freeze();
  busy_ = true;
  world().After(ms, [this] {
    if (busy_) Thaw();
  });
}

void Engine::Thaw() {
  if (!frozen_) return;
  frozen_ = busy_ = false;
  thawed_at_ = world().Now();
  // What waited in the sockets is read before the next cron looks at the guard again [M].
  for (; waiting_writes_ > 0; --waiting_writes_) Write();
}

bool Engine::AcceptsWrites() const {
  if (!alive_ || frozen_ || loading() || !is_primary()) return false;
  if (config_.min_replicas_to_write == 0 || config_.min_replicas_max_lag_s == 0) return true;
  return good_replicas_ >= config_.min_replicas_to_write;
}

bool Engine::Write() {
  if (frozen_) {
    waiting_writes_ = std::min<std::int64_t>(waiting_writes_ + 1, 100);
    return false;
  }
  if (!AcceptsWrites()) return false;
  Append(true, kWriteBytes);
  return true;
}

void Engine::Append(bool is_write, std::int64_t bytes) {
  head_ = engines_->history().Append(head_, is_write);
  if (has_backlog_) offset_ += bytes;  // without a backlog nothing is counted [M]
  PumpAll();
}

// ---------------------------------------------------------------- the operator's connections

std::uint64_t Engine::OpenControl() {
  controls_.insert(next_control_);
  return next_control_++;
}

std::vector<std::string> Engine::Transaction(std::uint64_t connection,
                                             const std::vector<Words>& body) {
  std::vector<std::string> replies;
  if (Refuses(body)) return {"-EXECABORT", "-LOADING Redis is loading the dataset in memory"};
  if (link_ == Link::kUp && IsDetach(body)) {
    for (EngineObserver* observer : engines_->observers()) observer->OnDetached(*this, *source_);
  }
  for (const Words& words : body) replies.push_back(Run(connection, words));
  return replies;
}

// While it loads, REPLICAOF is refused, and with it the whole transaction.
bool Engine::Refuses(const std::vector<Words>& body) const {
  return loading() && std::any_of(body.begin(), body.end(), [](const Words& words) {
           return !words.empty() && Lower(words[0]) == "replicaof";
         });
}

bool Engine::IsDetach(const std::vector<Words>& body) {
  bool leaves = false;
  bool cuts = false;
  for (const Words& words : body) {
    leaves = leaves || words == Words{"REPLICAOF", "127.0.0.1", "1"};
    cuts = cuts || (words.size() > 2 && words[1] == "KILL" && words[2] == "TYPE");
  }
  return leaves && !cuts;
}

void Engine::Buffer(std::uint64_t connection, const std::string& from, std::vector<Words> body,
                    std::int64_t delay_ms) {
  world().After(delay_ms, [this, connection, from, body = std::move(body)] {
    if (!alive_ || !HasControl(connection)) return;  // the command died with its connection
    if (frozen_ || !engines_->network().Passes(from, node_)) {
      return Buffer(connection, from, body, world().Between(1, kBlockedRetryMs));
    }
    world().Trace(name_ + " runs a late command: " + body.back().front());
    if (Refuses(body)) return;
    for (const Words& words : body) Run(connection, words);
    CloseControl(connection);  // its client had given up
  });
}

std::string Engine::Run(std::uint64_t connection, const Words& words) {
  if (words.empty()) return "-ERR empty command";
  const std::string verb = Lower(words[0]);
  const std::string sub = words.size() > 1 ? Lower(words[1]) : "";
  if (verb == "replicaof" || verb == "slaveof") {
    if (words.size() != 3) return "-ERR wrong number of arguments";
    if (sub == "no" && Lower(words[2]) == "one") {
      NoOne();
    } else {
      ReplicaOf(words[1], std::atoi(words[2].c_str()));
    }
    return "OK";
  }
  if (verb == "client" && sub == "kill") return ClientKill(connection, words);
  if (verb == "client" && sub == "unpause") return "OK";
  if (verb == "config" && sub == "set") return ConfigSet(words);
  if (verb == "acl" && words.size() == 4 && words[2] != "default") {
    feeds_replicas_ = words[3] == "on";  // the replication user
    return "OK";
  }
  if (verb == "acl" || (verb == "config" && sub == "resetstat")) return "OK";
  if (verb == "info") return sub == "replication" ? ReplicationText() : InfoText();
  if (verb == "ping") return "PONG";
  if (verb == "shutdown") {
    Kill();
    return "OK";
  }
  return "-ERR unknown command '" + words[0] + "'";
}

std::string Engine::ClientKill(std::uint64_t connection, const Words& words) {
  if (words.size() == 6 && Lower(words[3]) == "normal") {  // TYPE normal USER default
    const std::size_t killed = clients_.size();
    clients_.clear();
    return std::to_string(killed);
  }
  if (words.size() < 4 || Lower(words[2]) != "user") return "0";
  std::int64_t killed = 0;
  for (auto it = controls_.begin(); it != controls_.end();) {
    if (*it == connection) {
      ++it;
    } else {
      it = controls_.erase(it);
      ++killed;
    }
  }
  return std::to_string(killed);
}

std::string Engine::ConfigSet(const Words& words) {
  if (words.size() < 4 || words.size() % 2 != 0) return "-ERR wrong number of arguments";
  for (std::size_t i = 2; i + 1 < words.size(); i += 2) {
    const std::string name = Lower(words[i]);
    const std::int64_t value = std::atoll(words[i + 1].c_str());
    if (name == "min-replicas-to-write") config_.min_replicas_to_write = value;
    if (name == "min-replicas-max-lag") config_.min_replicas_max_lag_s = value;
    if (name == "repl-timeout") config_.repl_timeout_s = value;
    if (name == "lua-time-limit") config_.busy_after_ms = value;
  }
  RefreshGood();
  return "OK";
}

// ---------------------------------------------------------------- roles and links

void Engine::ReplicaOf(const std::string& host, int port) {
  if (primary_host_ == host && primary_port_ == port) return;  // already connected to it
  if (host == "127.0.0.1" && port == 1) fenced_at_ = world().Now();
  if (is_primary()) {
    has_cached_ = has_backlog_;  // a cached master made of itself: it may PSYNC with its own past
    link_down_at_ = 0;
  }
  primary_host_ = host;
  primary_port_ = port;
  DropLink();  // its own replicas stay attached, and think their link is up [M]
}

void Engine::NoOne() {
  if (is_primary()) return;
  was_primary_ = true;
  primary_host_.clear();
  primary_port_ = 0;
  DropLink();
  link_ = Link::kNone;
  has_cached_ = false;
  repl_id2_ = repl_id_;
  second_offset_ = offset_ + 1;
  repl_id_ = world().NewHex40();
  DropReplicas();
  for (EngineObserver* observer : engines_->observers()) observer->OnPromoted(*this);
}

// Ends the present link or attempt; a replica tries again at once, then once a second.
void Engine::DropLink() {
  ++link_id_;
  if (source_ != nullptr) {
    Engine* source = source_;
    source_ = nullptr;
    // A frozen source reads the end of the connection only after it thaws (CronAsSource).
    if (!source->frozen_ && Talks(*source)) source->Detach(this);
  }
  if (link_ == Link::kUp) {
    has_cached_ = true;
    link_down_at_ = world().Now();
  }
  link_ = is_primary() ? Link::kNone : Link::kConnecting;
  if (alive_ && link_ == Link::kConnecting) Connect();
}

void Engine::Connect() {
  const std::uint64_t link = link_id_;
  world().After(world().Between(1, 4), [this, link] { Handshake(link); });
}

void Engine::Handshake(std::uint64_t link) {
  if (!alive_ || frozen_ || link != link_id_ || link_ != Link::kConnecting) return;
  if (loading()) return;
  Engine* source = engines_->Alive(primary_host_, primary_port_);
  if (source == nullptr || source == this || source->frozen_ || !Talks(*source)) return;
  if (source->loading()) return;
  // -NOMASTERLINK: a replica whose own link is down serves nobody, so it wipes nobody.
  if (!source->is_primary() && source->link_ != Link::kUp) return;
  if (!source->feeds_replicas_) return;  // -WRONGPASS: the replication user is off there
  if (source->stranger_ && engines_->own_passwords()) return;  // -WRONGPASS, too
  ++link_id_;
  source_ = source;
  if (CanContinue(*source)) return PartialSync(source);
  FullSync(source, link_id_);
}

bool Engine::CanContinue(const Engine& source) const {
  if (!has_cached_ || !source.has_backlog_) return false;
  const std::int64_t next = offset_ + 1;
  const bool same = repl_id_ == source.repl_id_;
  const bool earlier = repl_id_ == source.repl_id2_ && next <= source.second_offset_;
  return (same || earlier) && next >= source.backlog_first_ && next <= source.offset_ + 1;
}

void Engine::PartialSync(Engine* source) {
  ++partial_syncs_;
  if (repl_id_ != source->repl_id_) {
    repl_id2_ = repl_id_;
    second_offset_ = offset_ + 1;
    repl_id_ = source->repl_id_;
    DropReplicas();
  }
  link_ = Link::kUp;
  last_io_at_ = world().Now();
  source->Detach(this);
  Attached attached;
  attached.replica = this;
  attached.online = true;
  attached.offset = offset_;
  attached.ack_s = source->UnixSeconds();
  attached.ack_at = world().Now();
  source->replicas_.push_back(attached);
  source->RefreshGood();
  StartBacklog();
  source->Pump(this);
}

void Engine::FullSync(Engine* source, std::uint64_t link) {
  link_ = Link::kSyncing;
  has_cached_ = false;
  source->Detach(this);
  if (!source->has_backlog_) {  // its first replica: a new history begins [M]
    source->repl_id_ = world().NewHex40();
    source->repl_id2_ = kZeroId;
    source->second_offset_ = -1;
    source->StartBacklog();
  }
  Attached attached;
  attached.replica = this;
  attached.ack_s = source->UnixSeconds();
  attached.ack_at = world().Now();
  source->replicas_.push_back(attached);
  const int snapshot = source->head_;
  const std::int64_t offset = source->offset_;
  world().After(world().Between(20, 900), [this, source, link, snapshot, offset] {
    FinishFullSync(source, link, snapshot, offset);
  });
}

void Engine::FinishFullSync(Engine* source, std::uint64_t link, int snapshot,
                            std::int64_t offset) {
  if (!alive_ || link != link_id_ || link_ != Link::kSyncing) return;
  Attached* attached = source->Find(this);
  if (!source->alive_ || attached == nullptr) return DropLink();
  if (frozen_ || source->frozen_ || !Talks(*source)) {
    world().After(kBlockedRetryMs, [this, source, link, snapshot, offset] {
      FinishFullSync(source, link, snapshot, offset);
    });
    return;
  }
  const int old_head = head_;
  head_ = snapshot;
  offset_ = offset;
  repl_id_ = source->repl_id_;
  repl_id2_ = kZeroId;
  second_offset_ = -1;
  has_backlog_ = true;
  backlog_first_ = offset_ + 1;
  DropReplicas();
  ++full_syncs_;
  link_ = Link::kUp;
  last_io_at_ = world().Now();
  engines_->history().MarkReplicated(head_);
  for (EngineObserver* observer : engines_->observers()) {
    observer->OnFullSync(*this, old_head, *source);
  }
  attached->online = true;
  attached->offset = offset_;
  attached->ack_s = source->UnixSeconds();
  attached->ack_at = world().Now();
  source->RefreshGood();
  source->Pump(this);
}

void Engine::StartBacklog() {
  if (has_backlog_) return;
  has_backlog_ = true;
  backlog_first_ = offset_ + 1;
}

// ---------------------------------------------------------------- the stream

void Engine::PumpAll() {
  for (const Attached& attached : std::vector<Attached>(replicas_)) Pump(attached.replica);
}

void Engine::Pump(Engine* replica) {
  Attached* attached = Find(replica);
  if (attached == nullptr || !attached->online || attached->pumping) return;
  attached->pumping = true;
  world().After(world().Between(0, 3), [this, replica] { Deliver(replica); });
}

void Engine::Deliver(Engine* replica) {
  Attached* attached = Find(replica);
  if (attached == nullptr || !alive_) return;
  if (replica->source_ != this || !replica->alive_) {
    attached->pumping = false;
    return;
  }
  if (frozen_ || replica->frozen_ || !Talks(*replica)) {
    world().After(kBlockedRetryMs, [this, replica] { Deliver(replica); });
    return;
  }
  attached->pumping = false;
  if (replica->head_ == head_ && replica->offset_ == offset_) return;
  RG_CHECK(engines_->history().IsPrefix(replica->head_, head_),
           "a partial sync joined two histories: the model's PSYNC is wrong");
  replica->head_ = head_;
  replica->offset_ = offset_;
  replica->last_io_at_ = world().Now();
  engines_->history().MarkReplicated(head_);
  replica->PumpAll();
}

void Engine::DropReplicas() {
  for (const Attached& attached : std::vector<Attached>(replicas_)) {
    Engine* replica = attached.replica;
    if (!replica->alive_ || replica->source_ != this || !Talks(*replica)) continue;
    world().After(world().Between(0, 2), [this, replica, link = replica->link_id_] {
      if (replica->source_ == this && replica->link_id_ == link) replica->DropLink();
    });
  }
  replicas_.clear();
  RefreshGood();
}

void Engine::Detach(Engine* replica) {
  replicas_.erase(std::remove_if(replicas_.begin(), replicas_.end(),
                                 [replica](const Attached& a) { return a.replica == replica; }),
                  replicas_.end());
  RefreshGood();
}

// ---------------------------------------------------------------- once a second

void Engine::Cron() {
  if (!alive_) return;
  if (frozen_) {  // after a thaw the loop counts on from where it stood: up to a second more
    world().After(frozen_ ? kBlockedRetryMs : 1, [this] { Cron(); });
    return;
  }
  if (thawed_at_ != 0 && world().Now() - thawed_at_ < kBlockedRetryMs) {
    world().After(world().Between(kBlockedRetryMs, kCronMs), [this] { Cron(); });
    return;
  }
  synced_head_ = head_;
  if (!is_primary()) CronAsReplica();
  CronAsSource();
  RefreshGood();
  world().After(kCronMs + world().Between(0, 3), [this] { Cron(); });
}

void Engine::CronAsReplica() {
  if (link_ == Link::kConnecting) return Connect();
  if (source_ == nullptr) return;
  if (Talks(*source_)) {
    // A reset answers where the other side has forgotten this connection.
    if (!source_->alive_ || source_->Find(this) == nullptr) return DropLink();
    if (link_ == Link::kUp && !source_->frozen_) {
      Attached* attached = source_->Find(this);
      attached->offset = offset_;
      attached->ack_s = source_->UnixSeconds();
      attached->ack_at = world().Now();
    }
  }
  const std::int64_t quiet_ms = world().Now() - last_io_at_;
  if (link_ == Link::kUp && quiet_ms > config_.repl_timeout_s * 1000) DropLink();
}

void Engine::CronAsSource() {
  for (const Attached& attached : std::vector<Attached>(replicas_)) {
    const bool ended = Talks(*attached.replica) &&
                       (!attached.replica->alive_ || attached.replica->source_ != this);
    const bool timed_out =
        world().Now() - attached.ack_at > config_.repl_timeout_s * 1000 && attached.online;
    if (ended || timed_out) Detach(attached.replica);
  }
  if (is_primary() && !replicas_.empty()) Append(false, kPingBytes);
}

void Engine::RefreshGood() {
  const std::int64_t now_s = UnixSeconds();
  good_replicas_ = 0;
  for (const Attached& attached : replicas_) {
    const bool good = attached.online && now_s - attached.ack_s <= config_.min_replicas_max_lag_s;
    good_replicas_ += good ? 1 : 0;
  }
}

// ---------------------------------------------------------------- what it says

redis::Info Engine::Info() const {
  redis::Info info;
  info.run_id = run_id_;
  info.version = "7.0.15";
  info.uptime_seconds = (world().Now() - started_at_) / 1000;
  info.is_primary = is_primary();
  info.repl_id = repl_id_;
  info.repl_id2 = repl_id2_;
  info.second_repl_offset = second_offset_;
  info.offset = is_primary() ? offset_ : std::max<std::int64_t>(offset_, 1);
  if (!is_primary()) {
    info.primary_host = primary_host_;
    info.primary_port = primary_port_;
    info.link_up = link_ == Link::kUp;
    info.read_offset = info.offset;
    info.sync_in_progress = link_ == Link::kSyncing;
    if (info.link_up) info.last_io_seconds = (world().Now() - last_io_at_) / 1000;
    if (!info.link_up && link_down_at_ > 0) {
      info.link_down_seconds = (world().Now() - link_down_at_) / 1000;
    }
  }
  info.guard_on = config_.min_replicas_to_write > 0 && config_.min_replicas_max_lag_s > 0;
  info.good_replicas = info.guard_on ? good_replicas_ : 0;
  info.loading = loading();
  info.keys = info.loading ? 0 : writes();
  info.used_memory_bytes = 1'000'000;
  for (const Attached& attached : replicas_) {
    redis::InfoReplica line;
    line.address = attached.replica->address_;
    line.port = attached.replica->port_;
    line.online = attached.online;
    line.offset = attached.offset;
    line.lag_seconds = std::max<std::int64_t>(0, UnixSeconds() - attached.ack_s);
    info.replicas.push_back(line);
  }
  return info;
}

std::string Engine::InfoText() const {
  const redis::Info info = Info();
  std::string text = "# Server\r\n" + Line("redis_version", info.version) +
                     Line("run_id", info.run_id) + Line("uptime_in_seconds", info.uptime_seconds) +
                     Line("tcp_port", port_) + "\r\n# Memory\r\n" +
                     Line("used_memory", info.used_memory_bytes) +
                     "\r\n# Persistence\r\n" + Line("loading", info.loading ? 1 : 0) + "\r\n" +
                     ReplicationText() +
                     "\r\n# Keyspace\r\n";
  if (info.keys > 0) text += "db0:keys=" + std::to_string(info.keys) + ",expires=0,avg_ttl=0\r\n";
  return text;
}

std::string Engine::ReplicationText() const {
  const redis::Info info = Info();
  std::string text =
      "# Replication\r\n" + Line("role", std::string(info.is_primary ? "master" : "slave"));
  if (!info.is_primary) {
    text += Line("master_host", info.primary_host) + Line("master_port", info.primary_port) +
            Line("master_link_status", std::string(info.link_up ? "up" : "down")) +
            Line("master_last_io_seconds_ago", info.last_io_seconds) +
            Line("master_sync_in_progress", info.sync_in_progress ? 1 : 0) +
            Line("slave_read_repl_offset", info.read_offset) +
            Line("slave_repl_offset", info.offset);
    if (!info.link_up) text += Line("master_link_down_since_seconds", info.link_down_seconds);
    text += "slave_priority:100\r\nslave_read_only:1\r\n";
  }
  text += Line("connected_slaves", info.replicas.size());
  if (info.guard_on) text += Line("min_slaves_good_slaves", info.good_replicas);
  for (std::size_t i = 0; i < info.replicas.size(); ++i) {
    const redis::InfoReplica& replica = info.replicas[i];
    text += "slave" + std::to_string(i) + ":ip=" + replica.address +
            ",port=" + std::to_string(replica.port) +
            ",state=" + (replica.online ? "online" : "wait_bgsave") +
            ",offset=" + std::to_string(replica.offset) +
            ",lag=" + std::to_string(replica.lag_seconds) + "\r\n";
  }
  return text + "master_failover_state:no-failover\r\n" + Line("master_replid", info.repl_id) +
         Line("master_replid2", info.repl_id2) + Line("master_repl_offset", offset_) +
         Line("second_repl_offset", info.second_repl_offset);
}

std::string Engine::Describe() const {
  std::string text = name_ + "[" + run_id_.substr(0, 4) + (alive_ ? "" : " dead") +
                     (busy_ ? " script" : frozen_ ? " frozen" : "") +
                     (loading() ? " loading" : "");
  text += is_primary() ? " primary" : " of " + primary_host_ + (link_up() ? " up" : " down");
  return text + " writes=" + std::to_string(writes()) + " offset=" + std::to_string(offset_) +
         (AcceptsWrites() ? " ACCEPTS" : "") + "]";
}

}  // namespace regroup::sim
