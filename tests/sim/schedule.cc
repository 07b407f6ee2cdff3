#include "tests/sim/schedule.h"

#include <memory>

#include "operator/base/check.h"
#include "operator/model/group_json.h"
#include "tests/sim/clients.h"
#include "tests/sim/cluster.h"
#include "tests/sim/sim_operator.h"

namespace regroup::sim {
namespace {

constexpr std::int64_t kBringUpMs = 60'000;
constexpr std::int64_t kServedWithinMs = 60'000;
constexpr std::int64_t kWholeWithinMs = 120'000;
constexpr std::int64_t kSettleMs = 3'000;
constexpr std::int64_t kCalmMs = 15'000;   // the last clients are cut off, the last label is set
constexpr std::int64_t kStuckMs = 8'000;
constexpr std::int64_t kRestMs = 15'000;
constexpr std::int64_t kWriteEveryMs = 25;

ClusterOptions OptionsOf(const model::PlanOptions& plan, Checker* checker) {
  ClusterOptions options;
  options.born_fenced = plan.born_fenced;
  options.following = plan.following;
  options.on_foreign_volume = [checker](const std::string& what) { checker->Fault("S9", what); };
  return options;
}

Json GroupObject(bool with_storage) {
  Json group{{"metadata", {{"name", "web-cache"}, {"finalizers", {model::kFinalizer}}}},
              {"spec",
               {{"description", "the simulated group"},
                {"engine", "redis"},
                {"engineVersion", "7.0"},
                {"cacheNodeType", "cache.t4g.small"},
                {"replicasPerNodeGroup", 2},
                {"automaticFailoverEnabled", true},
                {"multiAZEnabled", true}}}};
  if (with_storage) group["spec"]["storage"] = {{"size", "1Gi"}};
  return group;
}

class Run {
 public:
  Run(std::uint64_t seed, const SeedOptions& options)
      : world_(seed, options.print_trace), engines_(&world_, &network_, &history_),
        server_(&world_), checker_(&world_, &network_, &engines_, &server_),
        cluster_(&world_, &network_, &engines_, &server_,
                 OptionsOf(options.plan, &checker_)),
        clients_(&world_, &network_, &engines_, &server_, &checker_) {
    for (const char* zone : {"a", "b", "c"}) {
      cluster_.AddNode(std::string("node-") + zone, std::string("zone-") + zone);
      clients_.AddNode(std::string("node-") + zone);
    }
    for (const char* host : {"op0", "op1"}) {
      operators_.push_back(std::make_unique<SimOperator>(host, &world_, &network_, &engines_,
                                                         &server_, &checker_, &faults_,
                                                         options.plan));
    }
  }

  SeedResult Go();

 private:
  using Fault = void (Run::*)();
  struct Kind {
    const char* name;
    Fault inject;
    bool on;
  };

  bool RunUntil(MonoMs end, bool (Run::*done)() const);
  bool IsServed() const { return checker_.Served(); }
  bool IsWhole() const { return checker_.Whole(3); }
  bool Never() const { return false; }
  void DrawSwarm();
  void Cordon(const std::string& node, bool on) {
    (void)server_.MergePatch({kNodes, "", node}, "", {{"spec", {{"unschedulable", on}}}});
  }
  void InjectLater();
  void StopFaults();
  void ClientsWrite();
  Engine* Victim();
  std::vector<Engine*> Living() const;
  void Back(std::int64_t low_ms, std::int64_t high_ms, std::function<void()> undo);

  void KillEngine();
  void KillAll();
  void FreezeEngine();
  void CutNode();
  void CutPair();
  void OneWay();
  void ApiOutage();
  void CutOperator();
  void CrashOperator();
  void PauseOperator();
  void TwoLeaders();
  void DeletePod();
  void ForceDeletePod();
  void DrainNode();
  void FlapNode();
  void Flap(const std::string& node, int times);
  void AskForPrimary();
  void TestFailover();
  void Scale();
  void WipeStatus();
  void MakeAnew();
  void CreateAgain();
  void TakeOldVolumesAway();
  bool Patch(const std::string& subresource, const Json& patch);
  void CheckRest();
  std::int64_t ApiWrites() const;

  World world_;
  Network network_;
  History history_;
  Engines engines_;
  ApiServer server_;
  Checker checker_;
  Cluster cluster_;
  Clients clients_;
  bool with_storage_ = false;
  int tests_ = 0;
  OperatorFaults faults_;
  std::vector<std::unique_ptr<SimOperator>> operators_;
  std::vector<Kind> kinds_;
  bool faults_on_ = false;
  std::int64_t fault_gap_ms_max_ = 8000;
};

bool Run::RunUntil(MonoMs end, bool (Run::*done)() const) {
  while (world_.Now() < end) {
    if ((this->*done)()) return true;
    if (!world_.RunOne()) return false;
    checker_.AfterEvent();
  }
  return (this->*done)();
}

SeedResult Run::Go() {
  DrawSwarm();
  with_storage_ = world_.Chance(0.25);
  (void)server_.Create(kGroups, "default", GroupObject(with_storage_));
  for (auto& one : operators_) one->Start();
  ClientsWrite();
  clients_.Start();
  SeedResult result;
  const bool disturbed_birth = world_.Chance(0.3);
  if (!disturbed_birth) {
    const OperatorFaults drawn = faults_;
    faults_ = OperatorFaults{};
    result.came_up = RunUntil(world_.Now() + kBringUpMs, &Run::IsWhole);
    faults_ = drawn;
  }
  const MonoMs start = world_.Now();
  faults_on_ = true;
  InjectLater();
  RunUntil(start + world_.Between(20'000, 90'000), &Run::Never);
  StopFaults();
  const MonoMs calm = world_.Now();
  result.served = RunUntil(calm + kServedWithinMs, &Run::IsServed);
  if (result.served) result.served_after_ms = world_.Now() - calm;
  result.whole = RunUntil(calm + kWholeWithinMs, &Run::IsWhole);
  RunUntil(world_.Now() + kSettleMs, &Run::Never);
  if (result.whole) CheckRest();
  result.served = result.served && IsServed();
  result.needs_human = !result.served && checker_.Stalled();
  if (disturbed_birth) result.came_up = result.served;
  result.violations = checker_.violations();
  result.events = world_.event_count();
  result.trace_hash = world_.trace_hash();
  result.virtual_ms = world_.Now() - start;
  result.counters = checker_.counters();
  result.picture = checker_.Picture();
  return result;
}

// Everything is as wanted: after a while nobody is left behind, and nothing is written any more.
void Run::CheckRest() {
  if (!world_.Chance(0.3)) return;
  RunUntil(world_.Now() + kCalmMs, &Run::Never);
  clients_.CheckNobodyIsStuck(kStuckMs);
  const std::int64_t before = ApiWrites();
  RunUntil(world_.Now() + kRestMs, &Run::Never);
  if (const std::int64_t written = ApiWrites() - before; written > 0) {
    checker_.Fault("quiet", std::to_string(written) + " API writes at rest");
  }
}

std::int64_t Run::ApiWrites() const {
  std::int64_t writes = 0;
  for (const auto& one : operators_) writes += one->api_writes();
  return writes;
}

// ---------------------------------------------------------------- what goes wrong

void Run::DrawSwarm() {
  kinds_ = {{"engine killed", &Run::KillEngine, false},
            {"all engines killed", &Run::KillAll, false},
            {"engine frozen", &Run::FreezeEngine, false},
            {"node cut off", &Run::CutNode, false},
            {"pair of hosts cut off", &Run::CutPair, false},
            {"one-way cut", &Run::OneWay, false},
            {"API outage", &Run::ApiOutage, false},
            {"operator cut off", &Run::CutOperator, false},
            {"operator crashed", &Run::CrashOperator, false},
            {"operator paused", &Run::PauseOperator, false},
            {"two leaders", &Run::TwoLeaders, false},
            {"pod deleted", &Run::DeletePod, false},
            {"pod deleted by force", &Run::ForceDeletePod, false},
            {"node drained", &Run::DrainNode, false},
            {"node flaps", &Run::FlapNode, false},
            {"primary asked for", &Run::AskForPrimary, false},
            {"TestFailover", &Run::TestFailover, false},
            {"replicas scaled", &Run::Scale, false},
            {"status wiped", &Run::WipeStatus, false},
            {"group made anew", &Run::MakeAnew, false}};
  for (Kind& kind : kinds_) kind.on = world_.Chance(0.5);
  kinds_[0].on = kinds_[0].on || world_.Chance(0.5);
  fault_gap_ms_max_ = world_.Chance(0.3) ? 3000 : 12'000;
  const auto sometimes = [this](double most) {
    return world_.Chance(0.5) ? 0.0 : most * world_.rng().Unit();
  };
  faults_.api.refuse = sometimes(0.05);
  faults_.api.lost_reply = sometimes(0.08);
  faults_.api.late = sometimes(0.03);
  faults_.fleet.lost_reply = sometimes(0.08);
  faults_.fleet.late = sometimes(0.08);
  faults_.fleet.reset = sometimes(0.3);
  faults_.crash_after_step = sometimes(0.02);
  faults_.pause_after_step = sometimes(0.02);
  faults_.pauses_outlive_lease = world_.Chance(0.5);
  faults_.watch.lag_ms_max = world_.Chance(0.3) ? 4000 : 100;
}

void Run::InjectLater() {
  world_.After(world_.Between(200, fault_gap_ms_max_), [this] {
    if (!faults_on_) return;
    std::vector<const Kind*> live;
    for (const Kind& kind : kinds_) {
      if (kind.on) live.push_back(&kind);
    }
    if (!live.empty()) {
      const Kind& kind = *live[world_.rng().Below(live.size())];
      world_.Trace(std::string("FAULT ") + kind.name);
      checker_.Count(std::string("fault: ") + kind.name);
      (this->*kind.inject)();
    }
    InjectLater();
  });
}

// Undoes a fault after a while; StopFaults has done so already when the faults have stopped.
void Run::Back(std::int64_t low_ms, std::int64_t high_ms, std::function<void()> undo) {
  const bool is_long = world_.Chance(0.3);
  const std::int64_t most_ms = is_long ? high_ms : low_ms + (high_ms - low_ms) / 5;
  const std::int64_t ms = world_.Between(low_ms, most_ms);
  world_.After(ms, [this, undo = std::move(undo)] {
    if (faults_on_) undo();
  });
}

void Run::StopFaults() {
  world_.Trace("FAULTS STOP");
  faults_on_ = false;
  faults_ = OperatorFaults{};
  network_.HealAll();
  for (const std::string& node : cluster_.nodes()) Cordon(node, false);
  (void)Patch("", {{"spec", {{"replicasPerNodeGroup", 2}}}});
  for (Engine* engine : Living()) engine->Thaw();
  for (auto& one : operators_) {
    one->LeadAnyway(false);
    one->ResetHungWatches();
  }
}

void Run::ClientsWrite() {
  for (Engine* engine : Living()) {
    if (engine->Write()) checker_.Count("acknowledged writes");
  }
  world_.After(kWriteEveryMs, [this] { ClientsWrite(); });
}

std::vector<Engine*> Run::Living() const {
  std::vector<Engine*> living;
  for (const auto& engine : engines_.all()) {
    if (engine->alive()) living.push_back(engine.get());
  }
  return living;
}

Engine* Run::Victim() {
  const std::vector<Engine*> living = Living();
  if (living.empty()) return nullptr;
  for (Engine* engine : living) {
    if (engine->is_primary() && world_.Chance(0.6)) return engine;
  }
  return living[world_.rng().Below(living.size())];
}

void Run::KillEngine() {
  if (Engine* engine = Victim()) engine->Kill();
}

void Run::KillAll() {
  for (Engine* engine : Living()) engine->Kill();
}

void Run::FreezeEngine() {
  Engine* engine = Victim();
  if (engine == nullptr || engine->frozen()) return;
  engine->Freeze();
  world_.Trace("frozen: " + engine->Describe());
  Back(200, 20'000, [engine] { engine->Thaw(); });
}

void Run::CutNode() {
  Engine* engine = Victim();
  if (engine == nullptr) return;
  const std::string node = engine->node();
  world_.Trace("cut: " + node + " with " + engine->Describe());
  network_.CutHost(node);
  const std::string beside = world_.Chance(0.2) ? operators_[0]->host() : node;
  network_.CutHost(beside);
  Back(300, 30'000, [this, node, beside] {
    world_.Trace("healed: " + node);
    network_.HealHost(node);
    network_.HealHost(beside);
  });
}

void Run::CutPair() {
  std::vector<std::string> hosts = cluster_.nodes();
  hosts.insert(hosts.end(), {"op0", "op1"});
  const std::string a = hosts[world_.rng().Below(hosts.size())];
  const std::string b = hosts[world_.rng().Below(hosts.size())];
  world_.Trace("cut: " + a + " from " + b);
  network_.Block(a, b);
  network_.Block(b, a);
  Back(300, 20'000, [this, a, b] {
    network_.Unblock(a, b);
    network_.Unblock(b, a);
  });
}

void Run::OneWay() {
  std::vector<std::string> hosts = cluster_.nodes();
  hosts.insert(hosts.end(), {"op0", "op1", "api"});
  const std::string a = hosts[world_.rng().Below(hosts.size())];
  const std::string b = hosts[world_.rng().Below(hosts.size())];
  world_.Trace("one-way cut: " + a + " to " + b);
  network_.Block(a, b);
  Back(300, 20'000, [this, a, b] { network_.Unblock(a, b); });
}

void Run::ApiOutage() {
  network_.CutHost("api");
  Back(500, 30'000, [this] { network_.HealHost("api"); });
}

void Run::CutOperator() {
  const std::string host = operators_[world_.rng().Below(2)]->host();
  network_.CutHost(host);
  Back(500, 20'000, [this, host] { network_.HealHost(host); });
}

void Run::CrashOperator() {
  operators_[world_.rng().Below(2)]->Crash(world_.Between(100, 6000));
}

void Run::PauseOperator() {
  operators_[world_.rng().Below(2)]->Pause(world_.Between(200, 12'000));
}

void Run::TwoLeaders() {
  for (auto& one : operators_) one->LeadAnyway(true);
  Back(2000, 20'000, [this] {
    for (auto& one : operators_) one->LeadAnyway(false);
  });
}

void Run::DeletePod() {
  Engine* engine = Victim();
  if (engine == nullptr || network_.IsCut("api")) return;
  (void)server_.Delete({kPods, "default", engine->name()}, {engine->pod_uid(), ""}, 30);
}

void Run::ForceDeletePod() {
  Engine* engine = Victim();
  if (engine == nullptr || network_.IsCut("api")) return;
  (void)server_.Delete({kPods, "default", engine->name()}, {engine->pod_uid(), ""}, 0);
}

void Run::DrainNode() {
  Engine* engine = Victim();
  if (engine == nullptr || network_.IsCut("api")) return;
  const std::string node = engine->node();
  world_.Trace("drained: " + node + " with " + engine->Describe());
  Cordon(node, true);
  Back(3000, 20'000, [this, node] { Cordon(node, false); });
}

void Run::FlapNode() {
  if (Engine* engine = Victim()) Flap(engine->node(), 6);
}

void Run::Flap(const std::string& node, int times) {
  if (times == 0 || !faults_on_) return;
  network_.CutHost(node);
  world_.After(world_.Between(5000, 8000), [this, node, times] {
    if (!faults_on_) return;
    network_.HealHost(node);
    world_.After(world_.Between(2000, 4000), [this, node, times] { Flap(node, times - 1); });
  });
}

bool Run::Patch(const std::string& subresource, const Json& patch) {
  return server_.MergePatch({kGroups, "default", "web-cache"}, subresource, patch).has_value();
}

void Run::AskForPrimary() {
  if (network_.IsCut("api")) return;
  const std::string name = "web-cache-00" + std::to_string(world_.Between(1, 4));
  const bool off = world_.Chance(0.2);
  (void)Patch("", {{"spec", {{"primaryClusterID", off ? Json() : Json(name)}}}});
  // A name that no member bears would keep the group from being as wanted.
  Back(2000, 20'000, [this] { (void)Patch("", {{"spec", {{"primaryClusterID", nullptr}}}}); });
}

void Run::TestFailover() {
  if (network_.IsCut("api")) return;
  const Json annotations{{model::kTestFailoverAnnotation, "drill-" + std::to_string(++tests_)}};
  (void)Patch("", {{"metadata", {{"annotations", annotations}}}});
}

void Run::Scale() {
  if (network_.IsCut("api")) return;
  (void)Patch("", {{"spec", {{"replicasPerNodeGroup", world_.Between(1, 4)}}}});
}

// A human, or a backup tool, that writes what it should not.
void Run::WipeStatus() {
  if (network_.IsCut("api") || world_.Chance(0.5)) return;
  checker_.ForgetEpoch();
  (void)Patch("status", {{"status", {{"nodeGroups", nullptr}}}});
}

// Deleted and made again under the same name; a human takes the kept volumes away later.
void Run::MakeAnew() {
  if (network_.IsCut("api") || !with_storage_ || world_.Chance(0.7)) return;
  if (server_.Delete({kGroups, "default", "web-cache"}, {}, -1)) CreateAgain();
}

void Run::CreateAgain() {
  world_.After(world_.Between(500, 3000), [this] {
    if (!server_.Create(kGroups, "default", GroupObject(true))) return CreateAgain();
    world_.After(world_.Between(3000, 9000), [this] { TakeOldVolumesAway(); });
  });
}

void Run::TakeOldVolumesAway() {
  const kube::ResourceType claims{"", "v1", "persistentvolumeclaims", true};
  const auto group = server_.Get({kGroups, "default", "web-cache"});
  const std::string uid = group ? Str(At(*group, {"metadata", "uid"})) : "";
  for (const Json& claim : server_.Objects(claims.resource)) {
    const Json& labels = At(claim, {"metadata", "labels"});
    if (Str(Child(labels, "regroup.dev/group-uid")) == uid) continue;
    (void)server_.Delete({claims, "default", Str(At(claim, {"metadata", "name"}))}, {}, 0);
  }
}

}  // namespace

SeedResult RunSeed(std::uint64_t seed, const SeedOptions& options) {
  Run run(seed, options);
  return run.Go();
}

}  // namespace regroup::sim
