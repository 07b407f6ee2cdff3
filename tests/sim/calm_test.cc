// The whole operator in the simulated world without faults: what it must not do at rest, and what a
// restart of it must not change.
#include <gtest/gtest.h>

#include "operator/base/log.h"
#include "tests/sim/scene.h"

namespace regroup::sim {
namespace {

class Calm : public testing::Test, public Scene {
 protected:
  Calm() : Scene(11, {}) {
    SetLogLevel(LogLevel::kError);
    StartOperators();
  }
  bool RunUntilWhole(std::int64_t ms) {
    return RunUntil(world_.Now() + ms, [this] { return IsWhole(); });
  }
};

TEST_F(Calm, AtRestNothingIsWritten) {
  CreateGroup();
  ASSERT_TRUE(RunUntilWhole(60'000)) << checker_.Picture();
  RunFor(15'000);  // settings, labels, the container of the primary
  const std::int64_t before = ApiWrites();
  EXPECT_GT(before, 0);
  StayQuiet(600'000);
  EXPECT_EQ(ApiWrites(), before);
  EXPECT_TRUE(checker_.violations().empty());
}

TEST_F(Calm, ARestartedOperatorAdoptsAndChangesNoRole) {
  CreateGroup();
  ASSERT_TRUE(RunUntilWhole(60'000)) << checker_.Picture();
  const model::Group before = Stored();
  for (auto& one : operators_) one->Crash(500);
  RunFor(30'000);
  EXPECT_TRUE(checker_.Whole(3)) << checker_.Picture();
  EXPECT_EQ(Stored().record.epoch, before.record.epoch);
  EXPECT_EQ(Stored().record.primary->run_id, before.record.primary->run_id);
}

TEST_F(Calm, TheReplicaCountGoesUpAndDownAndThePrimaryStays) {
  CreateGroup();
  ASSERT_TRUE(RunUntilWhole(60'000)) << checker_.Picture();
  const std::string primary = Stored().record.primary->name;
  PatchSpec({{"replicasPerNodeGroup", 4}});
  RunFor(60'000);
  EXPECT_EQ(Stored().view.replicas, 4) << checker_.Picture();
  PatchSpec({{"replicasPerNodeGroup", 1}});
  RunFor(60'000);
  EXPECT_EQ(Stored().view.replicas, 1) << checker_.Picture();
  EXPECT_EQ(PodCount(), 2U);
  EXPECT_EQ(Stored().record.primary->name, primary);
  EXPECT_TRUE(checker_.violations().empty());
}

// What the operator did itself it knows without the watches: it neither tries again without a pause
// nor does more than was asked for.
TEST_F(Calm, HungWatchesMakeNoLoop) {
  CreateGroup();
  ASSERT_TRUE(RunUntilWhole(60'000)) << checker_.Picture();
  RunFor(15'000);
  PatchSpec({{"replicasPerNodeGroup", 1}});
  RunFor(100);  // the wish is heard
  faults_.watch.hang = 1;
  const std::int64_t before = ApiWrites();
  RunFor(60'000);
  EXPECT_EQ(PodCount(), 2U);
  EXPECT_LT(ApiWrites() - before, 60);
  EXPECT_TRUE(checker_.violations().empty()) << checker_.violations().front().text;
}

TEST_F(Calm, APausedGroupIsLeftAlone) {
  CreateGroup();
  ASSERT_TRUE(RunUntilWhole(60'000)) << checker_.Picture();
  PatchSpec({{"paused", true}, {"replicasPerNodeGroup", 5}});
  RunFor(30'000);
  EXPECT_EQ(PodCount(), 3U);
}

}  // namespace
}  // namespace regroup::sim
