#include "tests/sim/faults.h"

#include <algorithm>
#include <iterator>

#include "operator/model/group_json.h"

namespace regroup::sim {

namespace {

constexpr int kAppliesInCalm = 20;  // a minute

}  // namespace

void FaultScene::DrawSwarm() {
  kinds_ = {{"engine killed", &FaultScene::KillEngine, false},
            {"all engines killed", &FaultScene::KillAll, false},
            {"engine frozen", &FaultScene::FreezeEngine, false},
            {"long script", &FaultScene::LongScript, false},
            {"power cut", &FaultScene::PowerCut, false},
            {"primary cut off from the operators", &FaultScene::CutPrimaryFromOperators, false},
            {"node cut off", &FaultScene::CutNode, false},
            {"pair of hosts cut off", &FaultScene::CutPair, false},
            {"one-way cut", &FaultScene::OneWay, false},
            {"API outage", &FaultScene::ApiOutage, false},
            {"operator cut off", &FaultScene::CutOperator, false},
            {"operator crashed", &FaultScene::CrashOperator, false},
            {"operator paused", &FaultScene::PauseOperator, false},
            {"two leaders", &FaultScene::TwoLeaders, false},
            {"pod deleted", &FaultScene::DeletePod, false},
            {"pod deleted by force", &FaultScene::ForceDeletePod, false},
            {"node drained", &FaultScene::DrainNode, false},
            {"node flaps", &FaultScene::FlapNode, false},
            {"primary asked for", &FaultScene::AskForPrimary, false},
            {"TestFailover", &FaultScene::TestFailover, false},
            {"replicas scaled", &FaultScene::Scale, false},
            {"status wiped", &FaultScene::WipeStatus, false},
            {"object deleted by a human", &FaultScene::DeleteObject, false},
            {"Secret changed by a human", &FaultScene::ChangeSecret, false},
            {"label edited by a human", &FaultScene::EditLabel, false},
            {"group made anew", &FaultScene::MakeAnew, false},
            {"API history compacted", &FaultScene::CompactApi, false},
            {"API server that lags", &FaultScene::StaleApi, false},
            {"Lease deleted", &FaultScene::DeleteLease, false},
            {"API store set back", &FaultScene::RestoreApi, false}};
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
  cluster_.SetStrangers(sometimes(0.5));
}

void FaultScene::DrawGroup() {
  const std::int64_t replicas = world_.Chance(0.5) ? 2 : world_.Between(0, 3);
  spec_ = ReplicasOf(replicas);
  SetMembers(static_cast<std::size_t>(replicas) + 1);
  if (world_.Chance(0.25)) spec_["storage"] = {{"size", "1Gi"}};
  if (world_.Chance(0.2)) spec_["failover"] = {{"writeGuard", "Off"}};
}

void FaultScene::InjectLater() {
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
void FaultScene::Back(std::int64_t low_ms, std::int64_t high_ms, std::function<void()> undo) {
  const bool is_long = world_.Chance(0.3);
  const std::int64_t most_ms = is_long ? high_ms : low_ms + (high_ms - low_ms) / 5;
  const std::int64_t ms = world_.Between(low_ms, most_ms);
  world_.After(ms, [this, undo = std::move(undo)] {
    if (faults_on_) undo();
  });
}

void FaultScene::StopFaults() {
  world_.Trace("FAULTS STOP");
  faults_on_ = false;
  faults_ = OperatorFaults{};
  network_.HealAll();
  for (const std::string& node : cluster_.nodes()) cluster_.PowerOn(node);
  for (const std::string& node : cluster_.nodes()) Cordon(node, false);
  Json spec = spec_;
  if (!spec.contains("failover")) spec["failover"] = nullptr;
  (void)Patch("", {{"spec", spec}});
  for (Engine* engine : Living()) engine->Thaw();
  for (auto& one : operators_) {
    one->LeadAnyway(false);
    one->ResetHungWatches();
  }
  if (made_anew_) KeepApplied(kAppliesInCalm);
}

Engine* FaultScene::Victim() {
  const std::vector<Engine*> living = Living();
  if (living.empty()) return nullptr;
  for (Engine* engine : living) {
    if (engine->is_primary() && world_.Chance(0.6)) return engine;
  }
  return living[world_.rng().Below(living.size())];
}

void FaultScene::KillEngine() {
  if (Engine* engine = Victim()) engine->Kill();
}

void FaultScene::KillAll() {
  for (Engine* engine : Living()) engine->Kill();
}

void FaultScene::FreezeEngine() {
  Engine* engine = Victim();
  if (engine == nullptr || engine->frozen()) return;
  engine->Freeze();
  world_.Trace("frozen: " + engine->Describe());
  Back(200, 20'000, [engine] { engine->Thaw(); });
}

// Most are over before anybody minds; a hung one nobody must take for a dead process.
void FaultScene::LongScript() {
  Engine* engine = Victim();
  if (engine == nullptr || engine->frozen()) return;
  engine->RunScript(world_.Chance(0.6) ? world_.Between(300, 3000) : world_.Between(3000, 20'000));
  world_.Trace("script: " + engine->Describe());
}

void FaultScene::CutNode() {
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

void FaultScene::CutPair() {
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

void FaultScene::OneWay() {
  std::vector<std::string> hosts = cluster_.nodes();
  hosts.insert(hosts.end(), {"op0", "op1", "api"});
  const std::string a = hosts[world_.rng().Below(hosts.size())];
  const std::string b = hosts[world_.rng().Below(hosts.size())];
  world_.Trace("one-way cut: " + a + " to " + b);
  network_.Block(a, b);
  Back(300, 20'000, [this, a, b] { network_.Unblock(a, b); });
}

// With `one_way` the operators are still heard there.
void FaultScene::HideFromOperators(const std::string& node, bool one_way) {
  for (const auto& one : operators_) {
    network_.Block(node, one->host());
    if (!one_way) network_.Block(one->host(), node);
  }
}

// Nobody but the operators is kept from the primary (a broken route, a NetworkPolicy).
void FaultScene::CutPrimaryFromOperators() {
  Engine* primary = Primary();
  if (primary == nullptr) return;
  const std::string node = primary->node();
  const bool one_way = world_.Chance(0.3);
  world_.Trace("cut: " + node + " from the operators, with " + primary->Describe());
  HideFromOperators(node, one_way);
  Back(1000, 30'000, [this, node] {
    for (const auto& one : operators_) {
      network_.Unblock(node, one->host());
      network_.Unblock(one->host(), node);
    }
  });
}

void FaultScene::PowerCut() {
  if (Engine* engine = Victim()) PowerCutOf(engine->node());
}

// Its processes end and nobody hears of it; disks have what was synced in the second before.
void FaultScene::PowerCutOf(const std::string& node) {
  world_.Trace("power cut: " + node);
  network_.CutHost(node);
  cluster_.PowerOff(node);
  Back(5000, 60'000, [this, node] {
    world_.Trace("power: " + node);
    network_.HealHost(node);
    cluster_.PowerOn(node);
  });
}

void FaultScene::ApiOutage() {
  network_.CutHost("api");
  Back(500, 30'000, [this] { network_.HealHost("api"); });
}

void FaultScene::CutOperator() {
  const std::string host = operators_[world_.rng().Below(2)]->host();
  network_.CutHost(host);
  Back(500, 20'000, [this, host] { network_.HealHost(host); });
}

void FaultScene::CrashOperator() {
  operators_[world_.rng().Below(2)]->Crash(world_.Between(100, 6000));
}

void FaultScene::PauseOperator() {
  operators_[world_.rng().Below(2)]->Pause(world_.Between(200, 12'000));
}

void FaultScene::TwoLeaders() {
  for (auto& one : operators_) one->LeadAnyway(true);
  Back(2000, 20'000, [this] {
    for (auto& one : operators_) one->LeadAnyway(false);
  });
}

void FaultScene::DeletePod() {
  Engine* engine = Victim();
  if (engine == nullptr || network_.IsCut("api")) return;
  (void)server_.Delete({kPods, "default", engine->name()}, {engine->pod_uid(), ""}, 30);
}

void FaultScene::ForceDeletePod() {
  Engine* engine = Victim();
  if (engine == nullptr || network_.IsCut("api")) return;
  (void)server_.Delete({kPods, "default", engine->name()}, {engine->pod_uid(), ""}, 0);
}

void FaultScene::Cordon(const std::string& node, bool on) {
  (void)server_.MergePatch({kNodes, "", node}, "", {{"spec", {{"unschedulable", on}}}});
}

void FaultScene::DrainNode() {
  Engine* engine = Victim();
  if (engine == nullptr || network_.IsCut("api")) return;
  const std::string node = engine->node();
  world_.Trace("drained: " + node + " with " + engine->Describe());
  Cordon(node, true);
  Back(3000, 20'000, [this, node] { Cordon(node, false); });
}

void FaultScene::FlapNode() {
  if (Engine* engine = Victim()) Flap(engine->node(), 6);
}

void FaultScene::Flap(const std::string& node, int times) {
  if (times == 0 || !faults_on_) return;
  network_.CutHost(node);
  world_.After(world_.Between(5000, 8000), [this, node, times] {
    if (!faults_on_) return;
    network_.HealHost(node);
    world_.After(world_.Between(2000, 4000), [this, node, times] { Flap(node, times - 1); });
  });
}

bool FaultScene::Patch(const std::string& subresource, const Json& patch) {
  return server_.MergePatch(group_ref_, subresource, patch).has_value();
}

void FaultScene::AskForPrimary() {
  if (network_.IsCut("api")) return;
  const std::string name = "web-cache-00" + std::to_string(world_.Between(1, 4));
  const bool off = world_.Chance(0.2);
  (void)Patch("", {{"spec", {{"primaryClusterID", off ? Json() : Json(name)}}}});
  // A name that no member bears would keep the group from being as wanted.
  Back(2000, 20'000, [this] { (void)Patch("", {{"spec", {{"primaryClusterID", nullptr}}}}); });
}

void FaultScene::TestFailover() {
  if (network_.IsCut("api")) return;
  const Json annotations{{model::kTestFailoverAnnotation, "drill-" + std::to_string(++tests_)}};
  (void)Patch("", {{"metadata", {{"annotations", annotations}}}});
}

// Often the primary was lost just before, and the operators do not know it yet while they choose
// whom the group can spare.
void FaultScene::Scale() {
  if (network_.IsCut("api")) return;
  const bool lost = world_.Chance(0.5);
  const std::int64_t replicas = lost && world_.Chance(0.6) ? 0 : world_.Between(0, 4);
  if (lost) LosePrimary();
  world_.After(lost ? world_.Between(0, 300) : 0, [this, replicas] {
    if (faults_on_) (void)Patch("", {{"spec", ReplicasOf(replicas)}});
  });
}

void FaultScene::LosePrimary() {
  Engine* primary = Primary();
  if (primary == nullptr) return;
  if (world_.Chance(0.7)) return PowerCutOf(primary->node());
  primary->Kill();
}

// A human, or a backup tool, that writes what it should not.
void FaultScene::WipeStatus() {
  if (network_.IsCut("api") || world_.Chance(0.5)) return;
  wiped_ = true;
  checker_.ForgetEpoch();
  (void)Patch("status", {{"status", {{"nodeGroups", nullptr}}}});
}

// Both operators run and have seen it: one of them alone would do, but may crash next.
bool FaultScene::OperatorsKnowSecret() const {
  if (!GroupExists()) return false;
  const model::GroupMeta meta = Stored().meta;
  return std::all_of(operators_.begin(), operators_.end(), [&meta](const auto& one) {
    return one->synced() && one->Sees(meta);
  });
}

// What the group owns comes back as it was, the Secret with the passwords that the members know.
void FaultScene::DeleteObject() {
  struct Owned {
    kube::ResourceType type;
    const char* name;
  };
  static const Owned kOwned[] = {
      {{"", "v1", "secrets", true}, "web-cache-regroup"},
      {{"", "v1", "configmaps", true}, "web-cache-config"},
      {{"", "v1", "services", true}, "web-cache-primary"},
      {{"", "v1", "services", true}, "web-cache-reader"},
      {{"policy", "v1", "poddisruptionbudgets", true}, "web-cache"},
      {{"discovery.k8s.io", "v1", "endpointslices", true}, "web-cache-primary"},
      {{"discovery.k8s.io", "v1", "endpointslices", true}, "web-cache-reader"}};
  const Owned& owned = kOwned[world_.rng().Below(std::size(kOwned))];
  if (network_.IsCut("api") || !GroupExists()) return;
  if (owned.type.resource == "secrets" && !OperatorsKnowSecret()) return;
  world_.Trace("deleted: " + owned.type.resource + " " + owned.name);
  checker_.OnHumanEdit();
  (void)server_.Delete({owned.type, "default", owned.name}, {}, 0);
}

void FaultScene::ChangeSecret() {
  if (network_.IsCut("api") || !OperatorsKnowSecret()) return;
  const char* const kKeys[] = {"operator-password", "watch-password", "replication-password",
                               "users.acl"};
  checker_.OnHumanEdit();
  (void)server_.MergePatch({{"", "v1", "secrets", true}, "default", "web-cache-regroup"}, "",
                           {{"data", {{kKeys[world_.rng().Below(4)], "d3Jvbmc="}}}});
}

void FaultScene::EditLabel() {
  Engine* engine = Victim();
  if (engine == nullptr || network_.IsCut("api")) return;
  const Json labels{{"regroup.dev/role", world_.Chance(0.5) ? "primary" : "replica"}};
  checker_.OnHumanEdit();
  (void)server_.MergePatch({kPods, "default", engine->name()}, "",
                           {{"metadata", {{"labels", labels}}}});
}

// Deleted and made again under the same name; a human takes the kept volumes away later.
void FaultScene::MakeAnew() {
  if (network_.IsCut("api") || !spec_.contains("storage") || world_.Chance(0.7)) return;
  made_anew_ = true;
  if (server_.Delete(group_ref_, {}, -1)) CreateAgain();
}

// A store that was set back may hold the deletion again, and not what was made after it.
void FaultScene::KeepApplied(int times) {
  if (!GroupExists()) {
    MakeAndTidy();
  } else if (GroupStays()) {
    TakeOldVolumesAway();
  }
  if (times > 1) world_.After(3000, [this, times] { KeepApplied(times - 1); });
}

void FaultScene::CreateAgain() {
  world_.After(world_.Between(500, 3000), [this] {
    if (!faults_on_) return;  // KeepApplied does it from then on
    if (GroupExists()) return CreateAgain();
    MakeAndTidy();
  });
}

void FaultScene::MakeAndTidy() {
  CreateGroup(spec_);
  world_.After(world_.Between(3000, 9000), [this] { TakeOldVolumesAway(); });
}

void FaultScene::TakeOldVolumesAway() {
  const kube::ResourceType claims{"", "v1", "persistentvolumeclaims", true};
  const auto group = server_.Get(group_ref_);
  const std::string uid = group ? Str(At(*group, {"metadata", "uid"})) : "";
  for (const Json& claim : server_.Objects(claims.resource)) {
    const Json& labels = At(claim, {"metadata", "labels"});
    if (Str(Child(labels, "regroup.dev/group-uid")) == uid) continue;
    (void)server_.Delete({claims, "default", Str(At(claim, {"metadata", "name"}))}, {}, 0);
  }
}

void FaultScene::CompactApi() {
  server_.Compact();
  // Who is cut off now finds its version gone when it comes back.
  if (world_.Chance(0.5)) CutOperator();
}

// The API server behind the operators' watches is seconds behind; live reads are not.
void FaultScene::StaleApi() {
  faults_.watch.stale_ms = world_.Between(500, 8000);
  Back(2000, 20'000, [this] { faults_.watch.stale_ms = 0; });
}

void FaultScene::DeleteLease() {
  if (network_.IsCut("api")) return;
  const kube::ObjectRef ref{{"coordination.k8s.io", "v1", "leases", true}, "regroup-system",
                            "regroup"};
  (void)server_.Delete(ref, {}, -1);
}

// First a backup is made, and some time later the store is set back to it.
void FaultScene::RestoreApi() {
  if (!GroupExists()) return;
  const model::NodeGroupRecord record = Stored().record;
  if (!server_.HasBackup() || world_.Chance(0.3)) {
    backup_record_ = record;
    return server_.Backup();
  }
  if (old_records_ || backup_record_ == record) return server_.Restore();
  checker_.Count("store not set back: the record has changed");
}

}  // namespace regroup::sim
