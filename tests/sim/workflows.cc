#include "tests/sim/workflows.h"

#include <algorithm>
#include <iterator>

namespace regroup::sim {
namespace {

constexpr std::int64_t kUpWithinMs = 60'000;
constexpr std::int64_t kDoneWithinMs = 240'000;
constexpr std::int64_t kSettleMs = 60'000;  // a vanished pod counts as dead after 45 s
constexpr std::int64_t kQuietMs = 30'000;
constexpr std::int64_t kStepsMax = 2000;
constexpr std::int64_t kPauseMs = 8000;  // another takes the Lease meanwhile

class Workflow;

struct Kind {
  const char* name;
  bool from_nothing;         // begins without a group
  std::size_t members;       // in the end
  void (Workflow::*begin)();
};

struct FaultKind {
  const char* name;
  StepFault::Kind kind;
  bool two_leaders;
};

class Workflow : public Scene {
 public:
  Workflow(std::uint64_t seed, const SeedOptions& options) : Scene(seed, options) {}

  SeedResult Go(const Kind& kind, const FaultKind& fault, std::int64_t step);
  bool reached() const { return step_fault_.steps > step_fault_.at_step; }

  void Create() { CreateGroup(); }
  void ScaleUp() { PatchSpec({{"replicasPerNodeGroup", 4}}); }
  void ScaleDown() { PatchSpec({{"replicasPerNodeGroup", 1}}); }
  void KillPrimary() { Primary()->Kill(); }
  void KillReplica() { Replica()->Kill(); }
  void KillAll() {
    for (Engine* engine : Living()) engine->Kill();
  }
  void FreezePrimary() {
    Engine* engine = Primary();
    engine->Freeze();
    world_.After(12'000, [engine] { engine->Thaw(); });
  }
  void CutPrimary() {
    const std::string node = Primary()->node();
    network_.CutHost(node);
    world_.After(20'000, [this, node] { network_.HealHost(node); });
  }
  void DeletePrimaryPod() { DeletePod(*Primary(), 30); }
  void ForceDeletePrimaryPod() { DeletePod(*Primary(), 0); }
  void DeleteReplicaPod() { DeletePod(*Replica(), 30); }
  void ChangeParameter() { PatchSpec({{"parameters", {{"maxmemory-policy", "allkeys-lru"}}}}); }
  void Delete() { DeleteGroup(); }

 private:
  Engine* Replica() const {
    for (Engine* engine : Living()) {
      if (!engine->is_primary()) return engine;
    }
    return nullptr;
  }
  void DeletePod(const Engine& engine, int grace_seconds) {
    (void)server_.Delete({kPods, "default", engine.name()}, {engine.pod_uid(), ""}, grace_seconds);
  }
  bool Done() const {
    if (members_ == 0) return !GroupExists() && PodCount() == 0 && Living().empty();
    return IsWhole() && PodCount() == members_;
  }
};

const Kind kKinds[] = {
    {"create", true, 3, &Workflow::Create},
    {"scale up", false, 5, &Workflow::ScaleUp},
    {"scale down", false, 2, &Workflow::ScaleDown},
    {"primary killed", false, 3, &Workflow::KillPrimary},
    {"primary frozen", false, 3, &Workflow::FreezePrimary},
    {"primary cut off", false, 3, &Workflow::CutPrimary},
    {"primary's pod deleted", false, 3, &Workflow::DeletePrimaryPod},
    {"primary's pod deleted by force", false, 3, &Workflow::ForceDeletePrimaryPod},
    {"replica killed", false, 3, &Workflow::KillReplica},
    {"replica's pod deleted", false, 3, &Workflow::DeleteReplicaPod},
    {"all killed", false, 3, &Workflow::KillAll},
    {"parameter changed", false, 3, &Workflow::ChangeParameter},
    {"group deleted", false, 0, &Workflow::Delete},
};

const FaultKind kFaults[] = {
    {"crash", StepFault::Kind::kCrash, false},
    {"pause", StepFault::Kind::kPause, false},
    {"crash, two leaders", StepFault::Kind::kCrash, true},
    {"pause, two leaders", StepFault::Kind::kPause, true},
};

SeedResult Workflow::Go(const Kind& kind, const FaultKind& fault, std::int64_t step) {
  const MonoMs start = world_.Now();
  StartOperators();
  StartClients();
  SeedResult result;
  result.came_up = true;
  if (!kind.from_nothing) {
    CreateGroup();
    result.came_up = RunUntil(world_.Now() + kUpWithinMs, [this] { return IsWhole(); });
    RunFor(kSettleMs);
  } else {
    RunFor(kSettleMs / 4);  // somebody leads
  }
  step_fault_ = StepFault{fault.kind, step, kPauseMs, 0};
  if (fault.two_leaders) {
    for (auto& one : operators_) one->LeadAnyway(true);
  }
  SetMembers(kind.members);
  (this->*kind.begin)();
  const bool done = RunUntil(world_.Now() + kDoneWithinMs, [this] { return Done(); });
  for (auto& one : operators_) one->LeadAnyway(false);
  RunFor(kSettleMs);
  result.served = result.whole = done && Done();
  if (!result.whole) checker_.Fault("L1", std::string(kind.name) + " does not end");
  if (result.whole) StayQuiet(kQuietMs);
  result.violations = checker_.violations();
  result.events = world_.event_count();
  result.trace_hash = world_.trace_hash();
  result.virtual_ms = world_.Now() - start;
  result.counters = checker_.counters();
  result.picture = checker_.Picture();
  return result;
}

}  // namespace

std::int64_t CrashCases() {
  return static_cast<std::int64_t>(std::size(kKinds) * std::size(kFaults));
}

std::string CrashCaseName(std::int64_t index) {
  const auto at = static_cast<std::size_t>(index);
  return std::string(kKinds[at / std::size(kFaults)].name) + ", " +
         kFaults[at % std::size(kFaults)].name;
}

SeedResult RunCrashStep(std::int64_t index, std::int64_t step, const SeedOptions& options,
                        bool* reached) {
  const auto at = static_cast<std::size_t>(index);
  // A seed of its own for each case, so that timings differ between them.
  Workflow workflow(static_cast<std::uint64_t>(1000 + index), options);
  SeedResult result =
      workflow.Go(kKinds[at / std::size(kFaults)], kFaults[at % std::size(kFaults)], step);
  *reached = workflow.reached();
  return result;
}

SeedResult RunCrashCase(std::int64_t index, const SeedOptions& options) {
  SeedResult all;
  all.came_up = all.served = all.whole = true;
  bool reached = true;
  for (std::int64_t step = 0; reached && step < kStepsMax; ++step) {
    const SeedResult one = RunCrashStep(index, step, options, &reached);
    if (reached) ++all.counters["step: " + CrashCaseName(index)];
    for (Violation violation : one.violations) {
      violation.text = "after step " + std::to_string(step) + ": " + violation.text;
      all.violations.push_back(violation);
    }
    all.came_up = all.came_up && one.came_up;
    all.served = all.served && one.served;
    all.whole = all.whole && one.whole;
    all.events += one.events;
    all.virtual_ms += one.virtual_ms;
    all.trace_hash = (all.trace_hash ^ one.trace_hash) * 0x100000001b3ULL;
    for (const auto& [what, count] : one.counters) all.counters[what] += count;
    if (!one.whole) all.picture = one.picture;
  }
  return all;
}

}  // namespace regroup::sim
