#include "tests/sim/schedule.h"

#include <optional>

#include "operator/model/group_json.h"

namespace regroup::sim {
namespace {

constexpr std::int64_t kBringUpMs = 60'000;
constexpr std::int64_t kServedWithinMs = 60'000;
constexpr std::int64_t kWholeWithinMs = 120'000;
constexpr std::int64_t kSettleMs = 3'000;
// Settings, labels, the primary's container; and a vanished pod counts as dead after 45 s.
constexpr std::int64_t kSettleToRestMs = 60'000;
constexpr std::int64_t kMinuteMs = 60'000;
constexpr std::int64_t kStuckMs = 8'000;  // the last cut of a demoted primary's clients is at 5 s
constexpr double kLongCalmChance = 0.06;

class Run : public Scene {
 public:
  Run(std::uint64_t seed, const SeedOptions& options)
      : Scene(seed, options), old_records_(options.old_records) {}

  SeedResult Go();

 private:
  using Fault = void (Run::*)();
  struct Kind {
    const char* name;
    Fault inject;
    bool on;
  };

  void DrawSwarm();
  void InjectLater();
  void StopFaults();
  void StayCalm();
  Engine* Victim();
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
  void Cordon(const std::string& node, bool on);
  void CompactApi();
  void StaleApi();
  void DeleteLease();
  void RestoreApi();

  const bool old_records_;
  std::optional<model::NodeGroupRecord> backup_record_;
  bool with_storage_ = false;
  bool wiped_ = false;
  int tests_ = 0;
  std::vector<Kind> kinds_;
  bool faults_on_ = false;
  std::int64_t fault_gap_ms_max_ = 8000;
};

SeedResult Run::Go() {
  DrawSwarm();
  with_storage_ = world_.Chance(0.25);
  CreateGroup(with_storage_);
  StartOperators();
  StartClients();
  const auto served = [this] { return IsServed(); };
  const auto whole = [this] { return IsWhole(); };
  SeedResult result;
  const bool disturbed_birth = world_.Chance(0.3);
  const MonoMs begin = world_.Now();
  if (!disturbed_birth) {
    const OperatorFaults drawn = faults_;
    faults_ = OperatorFaults{};
    result.came_up = RunUntil(world_.Now() + kBringUpMs, whole);
    faults_ = drawn;
  }
  faults_on_ = true;
  InjectLater();
  RunFor(world_.Between(20'000, 90'000));
  StopFaults();
  const MonoMs calm = world_.Now();
  result.served = RunUntil(calm + kServedWithinMs, served);
  if (result.served) result.served_after_ms = world_.Now() - calm;
  result.whole = RunUntil(calm + kWholeWithinMs, whole);
  RunFor(kSettleMs);
  result.served = result.served && IsServed();
  result.needs_human = !result.served && checker_.Stalled();
  if (result.whole) StayCalm();
  if (disturbed_birth) result.came_up = result.served;
  result.violations = checker_.violations();
  result.events = world_.event_count();
  result.trace_hash = world_.trace_hash();
  result.virtual_ms = world_.Now() - begin;
  result.counters = checker_.counters();
  const auto failovers = result.counters.find("failovers");
  if (failovers != result.counters.end()) result.failovers = failovers->second;
  result.picture = checker_.Picture();
  return result;
}

// Once all is repaired the group rests: always for a moment, in some seeds for long.
void Run::StayCalm() {
  const bool is_long = world_.Chance(kLongCalmChance);
  const std::int64_t ms = is_long ? world_.Between(20 * kMinuteMs, 60 * kMinuteMs)
                                  : world_.Between(10'000, 40'000);
  RunFor(kSettleToRestMs);
  // Whoever destroys the record also destroys whose clients were still to be cut off.
  if (!wiped_) clients_.CheckNobodyIsStuck(kStuckMs);
  checker_.Count(is_long ? "calm for long" : "calm for a moment");
  // Half-open watches, which only the idle limit finds, are no reason to write.
  if (is_long) faults_.watch.hang = world_.Chance(0.5) ? 0.2 : 0;
  StayQuiet(ms);
  faults_.watch.hang = 0;
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
            {"group made anew", &Run::MakeAnew, false},
            {"API history compacted", &Run::CompactApi, false},
            {"API server that lags", &Run::StaleApi, false},
            {"Lease deleted", &Run::DeleteLease, false},
            {"API store set back", &Run::RestoreApi, false}};
  for (Kind& kind : kinds_) kind.on = world_.Chance(0.5);
  kinds_.back().on = world_.Chance(0.1);  // rare, and it takes much away
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
  faults_.watch.refuse = sometimes(0.2);
  faults_.watch.end = sometimes(0.02);
  faults_.watch.hang = sometimes(0.005);
  server_.SetServesWatchList(world_.Chance(0.8));
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

void Run::Cordon(const std::string& node, bool on) {
  (void)server_.MergePatch({kNodes, "", node}, "", {{"spec", {{"unschedulable", on}}}});
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
  return server_.MergePatch(group_ref_, subresource, patch).has_value();
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
  wiped_ = true;
  checker_.ForgetEpoch();
  (void)Patch("status", {{"status", {{"nodeGroups", nullptr}}}});
}

// Deleted and made again under the same name; a human takes the kept volumes away later.
void Run::MakeAnew() {
  if (network_.IsCut("api") || !with_storage_ || world_.Chance(0.7)) return;
  if (server_.Delete(group_ref_, {}, -1)) CreateAgain();
}

void Run::CreateAgain() {
  world_.After(world_.Between(500, 3000), [this] {
    if (GroupExists()) return CreateAgain();
    CreateGroup(true);
    world_.After(world_.Between(3000, 9000), [this] { TakeOldVolumesAway(); });
  });
}

void Run::TakeOldVolumesAway() {
  const kube::ResourceType claims{"", "v1", "persistentvolumeclaims", true};
  const auto group = server_.Get(group_ref_);
  const std::string uid = group ? Str(At(*group, {"metadata", "uid"})) : "";
  for (const Json& claim : server_.Objects(claims.resource)) {
    const Json& labels = At(claim, {"metadata", "labels"});
    if (Str(Child(labels, "regroup.dev/group-uid")) == uid) continue;
    (void)server_.Delete({claims, "default", Str(At(claim, {"metadata", "name"}))}, {}, 0);
  }
}

void Run::CompactApi() {
  server_.Compact();
  // Who is cut off now finds its version gone when it comes back.
  if (world_.Chance(0.5)) CutOperator();
}

// The API server behind the operators' watches is seconds behind; live reads are not.
void Run::StaleApi() {
  faults_.watch.stale_ms = world_.Between(500, 8000);
  Back(2000, 20'000, [this] { faults_.watch.stale_ms = 0; });
}

void Run::DeleteLease() {
  if (network_.IsCut("api")) return;
  const kube::ObjectRef ref{{"coordination.k8s.io", "v1", "leases", true}, "regroup-system",
                            "regroup"};
  (void)server_.Delete(ref, {}, -1);
}

// First a backup is made, and some time later the store is set back to it.
void Run::RestoreApi() {
  if (!GroupExists()) return;
  const model::NodeGroupRecord record = Stored().record;
  if (!server_.HasBackup() || world_.Chance(0.3)) {
    backup_record_ = record;
    return server_.Backup();
  }
  if (old_records_ || backup_record_ == record) return server_.Restore();
  checker_.Count("store not set back: the record has changed");
}

}  // namespace

SeedResult RunSeed(std::uint64_t seed, const SeedOptions& options) {
  Run run(seed, options);
  return run.Go();
}

}  // namespace regroup::sim
