#include "tests/sim/drills.h"

#include <iterator>

namespace regroup::sim {
namespace {

constexpr std::int64_t kAfterwardsMs = 5'000;
constexpr std::int64_t kWholeWithinMs = 120'000;

}  // namespace

void DrillScene::Drill() {
  using What = void (DrillScene::*)();
  const What kinds[] = {&DrillScene::ApiServerAway, &DrillScene::PrimaryUnseen,
                        &DrillScene::NobodySeen, &DrillScene::OperatorsGone,
                        &DrillScene::ShrinkWithoutPrimary};
  (this->*kinds[world_.rng().Below(std::size(kinds))])();
  StopFaults();
  if (!RunUntil(world_.Now() + kWholeWithinMs, [this] { return IsWhole(); })) {
    checker_.Fault("L1", "the group is not whole again after a drill");
  }
}

DrillScene::Untouched DrillScene::Look() const {
  const Engine* primary = Primary();
  return {Stored().record.epoch, primary == nullptr ? "" : primary->run_id(),
          engines_.all().size(), refused_};
}

// Runs the time with what was taken away, gives it back, and compares.
void DrillScene::Outage(const char* rule, const std::string& what, std::int64_t ms) {
  world_.Trace("DRILL " + what + " for " + std::to_string(ms) + " ms");
  checker_.Count("drill: " + what);
  const Untouched before = Look();
  RunFor(ms);
  network_.HealAll();
  RunFor(kAfterwardsMs);
  const Untouched after = Look();
  if (after == before) return;
  checker_.Fault(rule, what + " changed the group: epoch " + std::to_string(before.epoch) + " to " +
                           std::to_string(after.epoch) + ", " +
                           std::to_string(after.processes - before.processes) +
                           " new processes, " + std::to_string(after.refused - before.refused) +
                           " writes refused" +
                           (after.run_id == before.run_id ? "" : ", another primary"));
}

void DrillScene::ApiServerAway() {
  network_.CutHost("api");
  Outage("S10", "the API server is away", world_.Between(5'000, 300'000));
}

void DrillScene::PrimaryUnseen() {
  const Engine* primary = Primary();
  if (primary == nullptr) return;
  HideFromOperators(primary->node(), world_.Chance(0.3));
  Outage("S8", "the operators do not hear the primary", world_.Between(2'000, 60'000));
}

void DrillScene::NobodySeen() {
  for (const std::string& node : cluster_.nodes()) HideFromOperators(node, false);
  Outage("S10", "the operators hear no member", world_.Between(2'000, 60'000));
}

void DrillScene::OperatorsGone() {
  const std::int64_t ms = world_.Between(5'000, 120'000);
  for (auto& one : operators_) one->Crash(ms);
  Outage("S10", "no operator runs", ms);
}

// A group of two that is to have no replica loses its primary in that moment, and nobody knows yet:
// the replica is the last that holds the data. Without the guard, lifting which would fail.
void DrillScene::ShrinkWithoutPrimary() {
  Json spec = ReplicasOf(1);
  spec["failover"] = {{"writeGuard", "Off"}};
  if (!Patch("", {{"spec", spec}})) return;
  const bool two = RunUntil(world_.Now() + kWholeWithinMs, [this] { return checker_.Whole(2); });
  RunFor(kAfterwardsMs);
  const Engine* primary = Primary();
  if (!two || primary == nullptr) return;
  checker_.Count("drill: the group shrinks while its primary is lost");
  world_.Trace("DRILL the group shrinks while its primary is lost");
  const std::string node = primary->node();
  network_.CutHost(node);
  cluster_.PowerOff(node);
  RunFor(world_.Between(0, 300));
  (void)Patch("", {{"spec", ReplicasOf(0)}});
  RunFor(world_.Between(2'000, 20'000));
}

}  // namespace regroup::sim
