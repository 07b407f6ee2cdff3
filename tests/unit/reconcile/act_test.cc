// What an acknowledged change means for what the operator knows.
#include "operator/reconcile/act.h"

#include <gtest/gtest.h>

namespace regroup::reconcile {
namespace {

constexpr MonoMs kAnswered = 5000;

model::Memory AfterFence(bool is_primary, bool suspect) {
  model::Observed seen;
  model::Member member;
  member.uid = "uid-001";
  member.engine.facts = model::EngineFacts{};
  member.engine.facts->is_primary = is_primary;
  seen.members.push_back(member);
  if (suspect) seen.group.record.suspects = {member.uid};
  model::EngineEffect fence;
  fence.uid = member.uid;
  fence.run_id = "run-1";
  fence.change = model::EngineChange::kFence;
  model::Memory memory;
  Remember(memory, seen, fence, redis::CommandReply{{}, kAnswered});
  return memory;
}

TEST(Remember, AFencedPrimaryShedsItsClients) {
  const model::Memory memory = AfterFence(true, false);
  EXPECT_EQ(memory.demoted_at.at("uid-001"), kAnswered);
  EXPECT_EQ(memory.clients_cut.at("uid-001"), 0);
}

// The endpoint still led to it when it came back: clients that came then would stay on a replica.
TEST(Remember, AFormerPrimaryThatRestartedShedsItsClientsToo) {
  const model::Memory memory = AfterFence(false, true);
  EXPECT_EQ(memory.demoted_at.at("uid-001"), kAnswered);
  EXPECT_EQ(memory.clients_cut.at("uid-001"), 0);
}

TEST(Remember, AReplicaThatIsFencedKeepsServing) {
  EXPECT_TRUE(AfterFence(false, false).demoted_at.empty());
}

}  // namespace
}  // namespace regroup::reconcile
