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

// -- what gives way to other groups ---------------------------------------------------------------

model::Plan PlanWith(const model::Effect& effect) {
  model::Plan plan;
  plan.effects.push_back(effect);
  return plan;
}

model::Effect Engine(model::EngineChange change) {
  model::EngineEffect effect;
  effect.change = change;
  return effect;
}

TEST(IsPressing, WhatClientsWaitFor) {
  using model::EngineChange;
  const model::NodeGroupRecord rest;
  for (const EngineChange change : {EngineChange::kFence, EngineChange::kDetach,
                                    EngineChange::kPromote, EngineChange::kGuardOff,
                                    EngineChange::kShutdown}) {
    EXPECT_TRUE(IsPressing(rest, PlanWith(Engine(change)))) << static_cast<int>(change);
  }
  for (const model::SliceKind kind : {model::SliceKind::kPrimary, model::SliceKind::kReader}) {
    EXPECT_TRUE(IsPressing(rest, PlanWith(model::WriteSlice{kind, 2, "7", {}})));
  }
  EXPECT_TRUE(IsPressing(rest, PlanWith(model::DeleteMember{})));
}

TEST(IsPressing, WhatTheyDoNotNotice) {
  using model::EngineChange;
  const model::NodeGroupRecord rest;
  EXPECT_FALSE(IsPressing(rest, {}));
  for (const EngineChange change : {EngineChange::kFollow, EngineChange::kGuardOn,
                                    EngineChange::kCutClients, EngineChange::kSetConfig,
                                    EngineChange::kSetAcl}) {
    EXPECT_FALSE(IsPressing(rest, PlanWith(Engine(change)))) << static_cast<int>(change);
  }
  EXPECT_FALSE(IsPressing(rest, PlanWith(model::EmitEvent{})));
  EXPECT_FALSE(IsPressing(rest, PlanWith(model::LabelRole{})));
  EXPECT_FALSE(IsPressing(rest, PlanWith(model::CreateMember{})));
}

// A change of the primary is pressing from its first record to its last but one; its end is not.
TEST(IsPressing, ARecordThatBeginsAChangeOrGoesOnWithIt) {
  model::NodeGroupRecord rest;
  model::NodeGroupRecord begun = rest;
  begun.transition = model::Transition{};
  begun.transition->id = "2";
  begun.transition->stage = model::Stage::kSwitching;
  model::NodeGroupRecord next = begun;
  next.transition->stage = model::Stage::kReturning;
  model::Plan plan;
  plan.record = begun;
  EXPECT_TRUE(IsPressing(rest, plan));
  plan.record = next;
  EXPECT_TRUE(IsPressing(begun, plan));
  plan.record = rest;
  EXPECT_FALSE(IsPressing(begun, plan));
  plan.record = begun;
  EXPECT_FALSE(IsPressing(begun, plan));
}

}  // namespace
}  // namespace regroup::reconcile
