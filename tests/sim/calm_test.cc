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

// What the status tells of a failover's stages is the whole time without a primary endpoint.
TEST_F(Calm, TheStagesOfAFailoverAddUp) {
  CreateGroup();
  ASSERT_TRUE(RunUntilWhole(60'000)) << checker_.Picture();
  RunFor(15'000);
  const kube::ObjectRef slice{{"discovery.k8s.io", "v1", "endpointslices", true}, "default",
                              "web-cache-primary"};
  const std::string before = Str(At(*server_.Find(slice), {"metadata", "resourceVersion"}));
  const MonoMs killed_at = world_.Now();
  ASSERT_NE(Primary(), nullptr);
  Primary()->Kill();
  ASSERT_TRUE(RunUntil(killed_at + 10'000, [&] {
    return Str(At(*server_.Find(slice), {"metadata", "resourceVersion"})) != before;
  }));
  const std::int64_t without_ms = world_.Now() - killed_at;
  ASSERT_TRUE(RunUntil(world_.Now() + 10'000, [&] {
    return Stored().record.last_failover.has_value();
  }));
  const model::LastFailover last = *Stored().record.last_failover;
  EXPECT_NEAR(static_cast<double>(last.detect_ms + last.promote_ms + last.endpoint_ms),
              static_cast<double>(without_ms), 2.0)
      << last.detect_ms << " + " << last.promote_ms << " + " << last.endpoint_ms;
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
