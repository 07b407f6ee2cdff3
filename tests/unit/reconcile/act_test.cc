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

// A new leader finds a suspect that follows already: its clients are cut off without a fence.
TEST(Remember, ASuspectShedsItsClientsFromTheFirstCut) {
  model::Observed seen;
  model::EngineEffect cut;
  cut.uid = "uid-001";
  cut.change = model::EngineChange::kCutClients;
  cut.step = true;
  model::Memory memory;
  Remember(memory, seen, cut, redis::CommandReply{{}, kAnswered});
  EXPECT_TRUE(memory.demoted_at.empty());
  seen.group.record.suspects = {cut.uid};
  Remember(memory, seen, cut, redis::CommandReply{{}, kAnswered});
  EXPECT_EQ(memory.demoted_at.at("uid-001"), kAnswered);
  EXPECT_EQ(memory.clients_cut.at("uid-001"), 2);
}

TEST(Remember, AReplicaThatIsFencedKeepsServing) {
  EXPECT_TRUE(AfterFence(false, false).demoted_at.empty());
}

}  // namespace
}  // namespace regroup::reconcile
