#include "tests/sim/schedule.h"

#include <algorithm>

#include "tests/sim/drills.h"

namespace regroup::sim {
namespace {

constexpr std::int64_t kBringUpMs = 60'000;
// A kubelet that lost touch with the API is given 45 s to end a pod that is gone (KubeletForgot), a
// new leader 7 s, and the volume that then decides up to 9 s to load.
constexpr std::int64_t kServedWithinMs = 70'000;
constexpr std::int64_t kWholeWithinMs = 120'000;
constexpr std::int64_t kUnderWayMs = 10'000;  // what is being deleted is gone by then
constexpr std::int64_t kSettleMs = 3'000;
constexpr std::int64_t kHandOverMs = 1'000;
// Settings, labels, the primary's container; and a vanished pod counts as dead after 45 s.
constexpr std::int64_t kSettleToRestMs = 60'000;
constexpr std::int64_t kMinuteMs = 60'000;
constexpr std::int64_t kStuckMs = 8'000;  // the last cut of a demoted primary's clients is at 5 s
constexpr std::int64_t kHungWatchMs = 110'000;  // its idle limit, and a list
constexpr double kLongCalmChance = 0.05;
constexpr double kDrillChance = 0.3;

class Run : public DrillScene {
 public:
  using DrillScene::DrillScene;

  SeedResult Go();

 private:
  bool StillServed();
  void StayCalm();
};

SeedResult Run::Go() {
  DrawSwarm();
  DrawGroup();
  CreateGroup(spec_);
  StartOperators();
  StartClients();
  const auto served = [this] { return IsServed(); };
  const auto whole = [this] { return IsWhole() && GroupStays(); };
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
  RunFor(kUnderWayMs);
  result.served = RunUntil(calm + kServedWithinMs, served);
  if (result.served) result.served_after_ms = world_.Now() - calm;
  result.whole = RunUntil(calm + kWholeWithinMs, whole);
  RunFor(kSettleMs);
  result.served = result.served && StillServed();
  result.needs_human = !(result.served && result.whole) && !checker_.Stalled().empty();
  if (result.needs_human) checker_.Count("waits for a human: " + checker_.Stalled());
  if (!result.served && !result.needs_human) checker_.Fault("L1", "not served in 70 s of calm");
  if (!result.whole && !result.needs_human) checker_.Fault("L1", "not whole in 120 s of calm");
  if (result.whole) StayCalm();
  if (result.whole && IsWhole() && world_.Chance(kDrillChance)) Drill();
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

// A role that is just moving as planned is waited for; any other gap counts at once.
bool Run::StillServed() {
  if (IsServed()) return true;
  const auto transition = GroupExists() ? Stored().record.transition : std::nullopt;
  if (!transition || !transition->planned) return false;
  return RunUntil(world_.Now() + kHandOverMs, [this] { return IsServed(); });
}

// Once all is repaired the group rests: always for a moment, in some seeds for long.
void Run::StayCalm() {
  const bool is_long = world_.Chance(kLongCalmChance);
  const std::int64_t ms = is_long ? world_.Between(20 * kMinuteMs, 60 * kMinuteMs)
                                  : world_.Between(10'000, 40'000);
  const MonoMs known = checker_.edited_at() == 0 ? 0 : checker_.edited_at() + kHungWatchMs;
  RunFor(std::max(kSettleToRestMs, known - world_.Now()));
  if (!StillServed()) checker_.Fault("L1", "it was whole, and does not serve any more");
  // Whoever destroys the record also destroys whose clients were still to be cut off.
  if (!wiped_) clients_.CheckNobodyIsStuck(kStuckMs);
  // An operator that its members do not let in repairs nothing, and says so.
  if (checker_.Stalled().empty()) checker_.CheckObjectsAtRest();
  checker_.Count(is_long ? "calm for long" : "calm for a moment");
  // Half-open watches, which only the idle limit finds, are no reason to write.
  if (is_long) faults_.watch.hang = world_.Chance(0.5) ? 0.2 : 0;
  StayQuiet(ms);
  faults_.watch.hang = 0;
}

}  // namespace

SeedResult RunSeed(std::uint64_t seed, const SeedOptions& options) {
  Run run(seed, options);
  return run.Go();
}

}  // namespace regroup::sim
