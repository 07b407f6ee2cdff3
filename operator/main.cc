// regroup-operator: flags, wiring, signals. Owns every thread but the workers and the election's.
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <asio.hpp>
#include <openssl/rand.h>

#include "operator/admin/server.h"
#include "operator/base/check.h"
#include "operator/base/log.h"
#include "operator/base/metrics.h"
#include "operator/kube/client.h"
#include "operator/kube/kubeconfig.h"
#include "operator/kube/reflector.h"
#include "operator/reconcile/reconciler.h"
#include "operator/redis/asio_fleet.h"
#include "operator/runtime/controller.h"
#include "operator/runtime/leader.h"

namespace {

using namespace regroup;
using reconcile::Watched;

constexpr std::int64_t kSyncPollMs = 20;
constexpr std::int64_t kStuckMs = 30'000;  // each part of a pass has a deadline of a second or less

struct Flags {
  std::string kubeconfig;
  std::string context;
  std::string namespace_name;
  std::string catalogue = "/etc/regroup/catalogue.json";
  std::string lease_namespace = "regroup-system";
  std::string lease_name = "regroup";
  std::string identity;
  std::string admin_address = "0.0.0.0";
  std::uint16_t admin_port = 8080;
  int workers = 4;
  std::string log_level = "info";
  std::int64_t lease_ms = 5000;
  std::int64_t renew_deadline_ms = 3000;
  std::int64_t retry_ms = 1000;
};

int ParseFlags(int argc, char** argv, Flags* flags) {
  CLI::App app{"Regroup " REGROUP_VERSION
               ": replication groups of Redis and Valkey on Kubernetes."};
  app.set_version_flag("--version", REGROUP_VERSION);
  app.add_option("--kubeconfig", flags->kubeconfig,
                 "Path of a kubeconfig; default: the pod's own account");
  app.add_option("--context", flags->context,
                 "Context of the kubeconfig; default: the current one");
  app.add_option("--namespace", flags->namespace_name, "Watch this namespace only; default: all");
  app.add_option("--catalogue", flags->catalogue, "File with node classes and engine images")
      ->capture_default_str();
  app.add_option("--lease-namespace", flags->lease_namespace, "Namespace of the Lease")
      ->capture_default_str();
  app.add_option("--lease-name", flags->lease_name, "Name of the Lease")->capture_default_str();
  app.add_option("--identity", flags->identity, "Holder of the Lease; default: the host's name");
  app.add_option("--admin-address", flags->admin_address, "Address of /healthz, /readyz, /metrics")
      ->capture_default_str();
  app.add_option("--admin-port", flags->admin_port, "Port of the same")->capture_default_str();
  app.add_option("--workers", flags->workers, "Groups that are worked on at a time")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--log-level", flags->log_level, "debug, info, warn or error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
      ->capture_default_str();
  app.add_option("--lease-milliseconds", flags->lease_ms,
                 "How long a silent leader keeps the Lease")
      ->check(CLI::Range(1000, 600000))
      ->capture_default_str();
  app.add_option("--renew-deadline-milliseconds", flags->renew_deadline_ms,
                 "A leader that could not renew for this long stops; less than the lease")
      ->capture_default_str();
  app.add_option("--retry-milliseconds", flags->retry_ms, "Between two attempts")
      ->check(CLI::Range(200, 60000))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (flags->renew_deadline_ms >= flags->lease_ms) {
    std::fprintf(stderr, "--renew-deadline-milliseconds must be less than --lease-milliseconds\n");
    return 2;
  }
  if (flags->identity.empty()) {
    char host[256] = "regroup";
    gethostname(host, sizeof host - 1);
    flags->identity = host;
  }
  return -1;
}

std::string NewPassword() {
  unsigned char bytes[32];
  RG_CHECK(RAND_bytes(bytes, sizeof bytes) == 1, "the system gives no random bytes");
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : bytes) {
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

// Tests kill this process at a named point: by REGROUP_FAILPOINT, each time, or once, armed over
// the admin port, which is open for that only under REGROUP_FAILPOINTS=enabled.
class Failpoints {
 public:
  Failpoints() {
    if (const char* name = std::getenv("REGROUP_FAILPOINT")) armed_ = name;
    const char* enabled = std::getenv("REGROUP_FAILPOINTS");
    enabled_ = enabled != nullptr && std::string(enabled) == "enabled";
  }
  bool enabled() const { return enabled_; }
  void Arm(const std::string& name) {
    std::lock_guard lock(mutex_);
    armed_ = name;
  }
  void Hit(const std::string& name) {
    std::lock_guard lock(mutex_);
    if (armed_.empty() || name != armed_) return;
    Log(LogLevel::kWarn, "failpoint", {{"name", name}});
    // The first process of a container cannot send itself SIGKILL; this runs no destructor either.
    _exit(128 + SIGKILL);
  }

 private:
  std::mutex mutex_;
  std::string armed_;
  bool enabled_ = false;
};

class Operator {
 public:
  Operator(const Flags& flags, std::unique_ptr<kube::Client> client, model::Catalogue catalogue)
      : flags_(flags), client_(std::move(client)), queue_(clock_, NewSeed()),
        fleet_(io_, clock_, [this](const std::string& key, bool urgent) { Wake(key, urgent); },
               NewSeed()),
        reconciler_(PortsOf(), OptionsOf(std::move(catalogue))),
        leading_(queue_, clock_, flags.workers,
                 [this](const auto& key, auto stop) { return Work(key, stop); }),
        standby_(queue_, clock_, 1,
                 [this](const auto& key, auto) {
                   reconciler_.Watch(key);
                   return runtime::Outcome{};
                 }),
        elector_(*client_, clock_,
                 runtime::LeaderOptions{flags.lease_namespace, flags.lease_name, flags.identity,
                                        flags.lease_ms, flags.renew_deadline_ms, flags.retry_ms},
                 [this] { StartLeading(); }, [this] { StopLeading(); },
                 [this] { Rewound(); }),
        admin_(io_, HandlersOf()) {}

  Metrics& metrics() { return metrics_; }
  int Run();

 private:
  static std::uint64_t NewSeed() {
    std::uint64_t seed = 0;
    RAND_bytes(reinterpret_cast<unsigned char*>(&seed), sizeof seed);
    return seed;
  }
  reconcile::Ports PortsOf();
  reconcile::Options OptionsOf(model::Catalogue catalogue);
  admin::Handlers HandlersOf();
  void Wake(const std::string& key, bool urgent) {
    queue_.Add(key, urgent ? runtime::Priority::kUrgent : runtime::Priority::kNormal);
  }
  void StartReflector(Watched kind);
  void Rewound();
  bool Synced() const;
  runtime::Outcome Work(const std::string& key, const std::stop_token& stop);
  void StartLeading();
  void StopLeading();

  const Flags flags_;
  SystemClock clock_;
  Metrics metrics_;
  Failpoints failpoints_;
  std::unique_ptr<kube::Client> client_;
  asio::io_context io_{1};
  reconcile::Caches caches_;
  runtime::WorkQueue queue_;
  redis::AsioFleet fleet_;
  reconcile::Reconciler reconciler_;
  runtime::Controller leading_;
  runtime::Controller standby_;
  runtime::LeaderElector elector_;
  admin::Server admin_;
  std::vector<std::unique_ptr<kube::Reflector>> reflectors_;
  std::vector<std::jthread> threads_;
};

reconcile::Ports Operator::PortsOf() {
  reconcile::Ports ports;
  ports.api = client_.get();
  ports.fleet = &fleet_;
  ports.clock = &clock_;
  ports.caches = &caches_;
  ports.metrics = &metrics_;
  ports.new_password = NewPassword;
  ports.interrupted = [this](const std::string& key) { return queue_.HasUrgent(key); };
  ports.others_first = [this] { return queue_.UrgentWaits(); };
  ports.rewound = [this] { Rewound(); };
  ports.failpoint = [this](const std::string& name) { failpoints_.Hit(name); };
  return ports;
}

reconcile::Options Operator::OptionsOf(model::Catalogue catalogue) {
  reconcile::Options options;
  options.catalogue = std::move(catalogue);
  options.identity = flags_.identity;
  return options;
}

admin::Handlers Operator::HandlersOf() {
  admin::Handlers handlers;
  handlers.healthy = [this] {
    const std::int64_t pass_ms = std::max(leading_.LongestPassMs(), standby_.LongestPassMs());
    if (pass_ms < kStuckMs) return admin::Health{true, "ok"};
    return admin::Health{false, "a worker has been in one pass for " + std::to_string(pass_ms) +
                                    " ms"};
  };
  handlers.ready = [this] {
    if (!Synced()) return admin::Health{false, "the caches are not filled yet"};
    return admin::Health{true, elector_.IsLeader() ? "leader" : "standby"};
  };
  handlers.metrics = [this] {
    metrics_.SetQueueDepth(queue_.Depth());
    return metrics_.Text();
  };
  if (failpoints_.enabled()) {
    handlers.failpoint = [this](const std::string& name) { failpoints_.Arm(name); };
  }
  return handlers;
}

void Operator::StartReflector(Watched kind) {
  const reconcile::WatchedType watched = reconcile::TypeOf(kind);
  kube::ListOptions selector;
  selector.label_selector = watched.label_selector;
  if (watched.type.namespaced) selector.namespace_name = flags_.namespace_name;
  const auto wake_all = [this](const std::vector<std::string>& keys) {
    for (const std::string& key : keys) Wake(key, false);
  };
  kube::ReflectorSink sink;
  sink.on_replace = [this, kind, wake_all](const kube::ListedSet& set) {
    if (set.rewound) Rewound();
    wake_all(caches_.Replace(kind, set, clock_.Now()));
  };
  sink.on_event = [this, kind, wake_all](kube::EventType type, const Json& object) {
    wake_all(type == kube::EventType::kDeleted ? caches_.Remove(kind, object, clock_.Now())
                                               : caches_.Put(kind, object, clock_.Now()));
  };
  sink.on_restart = [this, resource = watched.type.resource](const Error&) {
    metrics_.CountWatchRestart(resource);
  };
  reflectors_.push_back(std::make_unique<kube::Reflector>(*client_, *client_, clock_,
                                                          NewSeed(), watched.type,
                                                          selector, std::move(sink)));
  threads_.emplace_back(
      [reflector = reflectors_.back().get()](std::stop_token stop) { reflector->Run(stop); });
}

bool Operator::Synced() const {
  for (const auto& reflector : reflectors_) {
    if (!reflector->Synced()) return false;
  }
  return !reflectors_.empty();
}

runtime::Outcome Operator::Work(const std::string& key, const std::stop_token& stop) {
  const MonoMs begin = clock_.Now();
  std::unique_ptr<reconcile::Round> round = reconciler_.Begin(key);
  if (round == nullptr) return {};
  while (!stop.stop_requested() && round->Step()) {
  }
  if (stop.stop_requested()) return {};
  const runtime::Outcome outcome = reconciler_.End(key, std::move(round));
  metrics_.CountReconcile(outcome.ok ? "ok" : "error", clock_.Now() - begin);
  return outcome;
}

// The API server's store was set back: everything is listed again, and until then nothing is done.
void Operator::Rewound() {
  Log(LogLevel::kWarn, "the API server's store was set back to an older state");
  caches_.Doubt(clock_.Now());
  for (const auto& reflector : reflectors_) reflector->Relist();
}

void Operator::StartLeading() {
  standby_.Stop();
  reconciler_.StartLeading();
  metrics_.SetLeader(true);
  for (const std::string& key : caches_.GroupKeys()) Wake(key, false);
  leading_.Start();
}

void Operator::StopLeading() {
  leading_.Stop();
  reconciler_.StopLeading();
  metrics_.SetLeader(false);
  standby_.Start();
  for (const std::string& key : caches_.GroupKeys()) Wake(key, false);
}

int Operator::Run() {
  if (Result<void> listening = admin_.Listen(flags_.admin_address, flags_.admin_port);
      !listening) {
    Log(LogLevel::kError, listening.error().message);
    return 1;
  }
  auto work = asio::make_work_guard(io_);
  std::jthread io_thread([this] { io_.run(); });
  standby_.Start();
  for (const Watched kind : reconcile::kAllWatched) StartReflector(kind);
  std::jthread election([this](const std::stop_token& stop) {
    // Nothing is decided on caches that are not whole.
    while (!stop.stop_requested() && !Synced()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(kSyncPollMs));
    }
    if (stop.stop_requested()) return;
    Log(LogLevel::kInfo, "caches are filled", {{"groups", caches_.GroupKeys().size()}});
    malloc_trim(0);  // the lists were large, and nothing so large comes again
    elector_.Run(stop);
  });
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  int received = 0;
  sigwait(&signals, &received);
  Log(LogLevel::kInfo, "stopping", {{"signal", received}});
  election.request_stop();
  election.join();
  standby_.Stop();
  for (std::jthread& thread : threads_) thread.request_stop();
  threads_.clear();
  fleet_.Stop();
  admin_.Stop();
  work.reset();
  io_.stop();
  io_thread.join();
  Log(LogLevel::kInfo, "stopped");
  return 0;
}

// Three connections a member: the usual soft limit of 1,024 open files would do for 100 groups.
void RaiseOpenFiles() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == files.rlim_max) return;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

int Fatal(const Error& error) {
  Log(LogLevel::kError, error.message);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  if (const int code = ParseFlags(argc, argv, &flags); code >= 0) return code;
  SetLogLevel(std::string_view(flags.log_level));
  // Blocked here, so that every thread inherits it and only sigwait sees them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  RaiseOpenFiles();
  // Each thread's own heap would keep what it freed after a burst, and twenty threads have bursts.
  mallopt(M_ARENA_MAX, 2);

  Result<std::string> text = kube::ReadFile(flags.catalogue);
  if (!text) return Fatal(text.error());
  Result<model::Catalogue> catalogue = model::ParseCatalogue(*text);
  if (!catalogue) return Fatal(catalogue.error());
  Result<kube::ClientConfig> config = flags.kubeconfig.empty()
                                          ? kube::LoadInCluster()
                                          : kube::LoadKubeconfig(flags.kubeconfig, flags.context);
  if (!config) return Fatal(config.error());
  static SystemClock clock;
  auto metrics = std::make_shared<Metrics*>(nullptr);
  Result<std::unique_ptr<kube::Client>> client = kube::Client::Create(
      *config, clock, [metrics](std::string_view verb, int code, std::int64_t duration_ms) {
        if (*metrics != nullptr) (*metrics)->CountApiCall(verb, code, duration_ms);
      });
  if (!client) return Fatal(client.error());
  Log(LogLevel::kInfo, "regroup " REGROUP_VERSION,
      {{"identity", flags.identity}, {"server", config->server}});
  Operator app(flags, std::move(*client), std::move(*catalogue));
  *metrics = &app.metrics();
  return app.Run();
}
