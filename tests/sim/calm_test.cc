// The whole operator in the simulated world without faults: what it must not do at rest, and what a
// restart of it must not change.
#include <memory>

#include <gtest/gtest.h>

#include "operator/base/log.h"
#include "operator/model/group_json.h"
#include "tests/sim/cluster.h"
#include "tests/sim/sim_operator.h"

namespace regroup::sim {
namespace {

const kube::ResourceType kGroupType{"regroup.dev", "v1alpha1", "replicationgroups", true};

class Calm : public testing::Test {
 protected:
  Calm()
      : world_(11, false), engines_(&world_, &network_, &history_), server_(&world_),
        checker_(&world_, &network_, &engines_, &server_),
        cluster_(&world_, &network_, &engines_, &server_, ClusterOptions{}) {
    SetLogLevel(LogLevel::kError);
    for (const char* zone : {"a", "b", "c"}) {
      cluster_.AddNode(std::string("node-") + zone, std::string("zone-") + zone);
    }
    for (const char* host : {"op0", "op1"}) {
      operators_.push_back(std::make_unique<SimOperator>(
          host, &world_, &network_, &engines_, &server_, &checker_, &faults_,
          model::PlanOptions{}));
      operators_.back()->Start();
    }
  }
  void Create() {
    const Json group{{"metadata", {{"name", "web-cache"}}},
                     {"spec",
                      {{"engine", "redis"}, {"engineVersion", "7.0"},
                       {"cacheNodeType", "cache.t4g.small"}, {"replicasPerNodeGroup", 2},
                       {"automaticFailoverEnabled", true}, {"multiAZEnabled", true}}}};
    ASSERT_TRUE(server_.Create(kGroupType, "default", group).has_value());
  }
  void RunFor(std::int64_t ms) {
    const MonoMs end = world_.Now() + ms;
    while (world_.Now() < end && world_.RunOne()) checker_.AfterEvent();
  }
  bool RunUntilWhole(std::int64_t ms) {
    const MonoMs end = world_.Now() + ms;
    while (world_.Now() < end && !checker_.Whole(3)) {
      if (!world_.RunOne()) return false;
      checker_.AfterEvent();
    }
    return checker_.Whole(3);
  }
  std::int64_t Writes() const {
    return operators_[0]->api_writes() + operators_[1]->api_writes();
  }
  model::Group Stored() {
    return model::ParseGroup(*server_.Get({kGroupType, "default", "web-cache"}));
  }
  void PatchSpec(const Json& spec) {
    ASSERT_TRUE(server_.MergePatch({kGroupType, "default", "web-cache"}, "", Json{{"spec", spec}})
                    .has_value());
  }

  World world_;
  Network network_;
  History history_;
  Engines engines_;
  ApiServer server_;
  Checker checker_;
  Cluster cluster_;
  OperatorFaults faults_;
  std::vector<std::unique_ptr<SimOperator>> operators_;
};

TEST_F(Calm, AtRestNothingIsWritten) {
  Create();
  ASSERT_TRUE(RunUntilWhole(60'000)) << checker_.Picture();
  RunFor(15'000);  // settings, labels, the container of the primary
  const std::int64_t before = Writes();
  RunFor(600'000);
  EXPECT_EQ(Writes(), before);
  EXPECT_TRUE(checker_.violations().empty());
}

TEST_F(Calm, ARestartedOperatorAdoptsAndChangesNoRole) {
  Create();
  ASSERT_TRUE(RunUntilWhole(60'000)) << checker_.Picture();
  const model::Group before = Stored();
  for (auto& one : operators_) one->Crash(500);
  RunFor(30'000);
  EXPECT_TRUE(checker_.Whole(3)) << checker_.Picture();
  EXPECT_EQ(Stored().record.epoch, before.record.epoch);
  EXPECT_EQ(Stored().record.primary->run_id, before.record.primary->run_id);
}

TEST_F(Calm, TheReplicaCountGoesUpAndDownAndThePrimaryStays) {
  Create();
  ASSERT_TRUE(RunUntilWhole(60'000)) << checker_.Picture();
  const std::string primary = Stored().record.primary->name;
  PatchSpec({{"replicasPerNodeGroup", 4}});
  RunFor(60'000);
  EXPECT_EQ(Stored().view.replicas, 4) << checker_.Picture();
  PatchSpec({{"replicasPerNodeGroup", 1}});
  RunFor(60'000);
  EXPECT_EQ(Stored().view.replicas, 1) << checker_.Picture();
  EXPECT_EQ(server_.Objects("pods").size(), 2U);
  EXPECT_EQ(Stored().record.primary->name, primary);
  EXPECT_TRUE(checker_.violations().empty());
}

TEST_F(Calm, APausedGroupIsLeftAlone) {
  Create();
  ASSERT_TRUE(RunUntilWhole(60'000)) << checker_.Picture();
  PatchSpec({{"paused", true}, {"replicasPerNodeGroup", 5}});
  RunFor(30'000);
  EXPECT_EQ(server_.Objects("pods").size(), 3U);
}

}  // namespace
}  // namespace regroup::sim
