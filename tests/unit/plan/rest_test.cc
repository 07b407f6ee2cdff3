// At rest, and when the group must not be touched: quiet, paused, invalid, owned objects, deletion.
#include <gtest/gtest.h>

#include "tests/unit/plan/world.h"

namespace regroup::plan::testing {
namespace {

using model::OwnedKind;
using model::OwnedState;

TEST(Quiet, AtRestNothingIsPlanned) {
  for (int members = 1; members <= 6; ++members) {
    SCOPED_TRACE("members: " + std::to_string(members));
    const model::Plan plan = World(members).Make();
    EXPECT_EQ(Joined(EffectsOf(plan)), "");
    EXPECT_EQ(RecordOf(plan), "-");
    EXPECT_EQ(plan.attention, model::Attention::kRest);
    EXPECT_EQ(plan.requeue_ms, 30'000);
  }
}

TEST(Quiet, WhatTimeAloneChangesIsLookedForOnceASecond) {
  World lost;
  lost.RemoveMember(3);
  EXPECT_LE(lost.Make().requeue_ms, 1000) << "not whole";
  World young;
  young.seen.group.record.primary->container_id.clear();
  young.pod(1).running = false;
  EXPECT_EQ(young.Make().requeue_ms, 1000) << "its container is recorded after some seconds";
  World vanished(4);
  vanished.spec().replicas = 2;
  vanished.Vanish(4);
  vanished.engine(4).reach = model::Reach::kUnreachable;
  const auto is_gone = [uid = vanished.at(4).uid](const auto& of) { return of.uid == uid; };
  std::erase_if(vanished.record().in_sync, is_gone);
  std::erase_if(vanished.seen.reader_slice.endpoints, is_gone);
  const model::Plan waits = vanished.Make();
  EXPECT_EQ(Joined(EffectsOf(waits)) + RecordOf(waits), "-");
  EXPECT_EQ(ConditionOf(waits, "Ready").substr(0, 4), "True");
  EXPECT_EQ(waits.requeue_ms, 1000) << "its kubelet's time ends its process";
}

TEST(Quiet, TheViewIsTheSameAtTwoMoments) {
  World world;
  const model::Plan first = world.Make();
  world.seen.group.view = first.view;
  world.seen.now += 400;
  world.seen.wall_now += 400;
  EXPECT_TRUE(world.Make().view == first.view);
}

TEST(Unseen, APrimaryThatNobodySaysFailedIsNotCalledUnavailable) {
  World world;
  world.Lose(1, 1200);
  for (const char* type : {"Ready", "Available", "FailoverReady"}) {
    EXPECT_EQ(ConditionOf(world.Make(), type).substr(0, 22), "Unknown PrimaryNotSeen") << type;
  }
  world.Hang(1, 60'000).LinkDown(2).LinkDown(3);
  EXPECT_EQ(ConditionOf(world.Make(), "Available").substr(0, 6), "False ");
}

TEST(Unseen, ADoubtIsToldAfterASecond) {
  World world;
  world.seen.group.view = world.Make().view;
  world.Lose(1, 900);
  EXPECT_EQ(world.Make().view, world.seen.group.view);
  world.Lose(1, 1000);
  EXPECT_EQ(ConditionOf(world.Make(), "Ready").substr(0, 22), "Unknown PrimaryNotSeen");
  World dead;
  dead.seen.group.view = dead.Make().view;
  dead.Die(1);
  dead.engine(1).last_heard = kNow - 900;
  dead.seen.group.view.status = "as it was";
  EXPECT_EQ(dead.Make().view.status, "as it was") << "the promotion comes first";
  dead.engine(1).last_heard = kNow - 1000;
  EXPECT_EQ(dead.Make().view.status, "modifying");
}

TEST(Disks, AFullOneIsToldAndAPrimaryWithOneDoesNotServe) {
  World replica;
  replica.facts(2).disk_failed = true;
  EXPECT_EQ(ConditionOf(replica.Make(), "Ready").substr(0, 16), "False DiskFailed");
  EXPECT_EQ(ConditionOf(replica.Make(), "Available").substr(0, 4), "True");
  World all;
  for (int i = 1; i <= 3; ++i) all.facts(i).disk_failed = true;
  EXPECT_EQ(ConditionOf(all.Make(), "Available").substr(0, 16), "False DiskFailed");
}

TEST(Unseen, ANewLeaderLetsStandWhatTheLastOnePublished) {
  World world;
  world.seen.group.view = world.Make().view;
  for (model::Member& member : world.seen.members) member.engine = {};
  world.seen.memory.leading_since = kNow - 2999;
  EXPECT_EQ(world.Make().view, world.seen.group.view);
  world.seen.memory.leading_since = kNow - 3000;
  EXPECT_EQ(ConditionOf(world.Make(), "Available").substr(0, 22), "Unknown PrimaryNotSeen");
}

TEST(Quiet, TheSameInputGivesTheSamePlan) {
  World world;
  world.Die(1);
  EXPECT_EQ(Joined(EffectsOf(world)), Joined(EffectsOf(world)));
  EXPECT_EQ(RecordOf(world), RecordOf(world));
}

TEST(Untouched, Rows) {
  Check({
      {"paused: nothing, though the primary died", 3,
       [](World& w) { w.spec().paused = true; w.Die(1); }, {}, "-"},
      {"invalid spec: nothing, though the primary died", 3,
       [](World& w) { w.seen.group.spec_error = "spec.port must be…"; w.Die(1); }, {}, "-"},
      {"invalid spec: nothing is created", 3,
       [](World& w) { w.seen.group.spec_error = "bad"; w.spec().replicas = 5; }, {}, "-"},
      {"the catalogue lost the image: no member is made, the rest goes on", 3,
       [](World& w) { w.seen.resolve_error = "no image"; w.spec().replicas = 5; }, {}, "-"},
      {"the catalogue lost the image: a failover still happens", 3,
       [](World& w) { w.seen.resolve_error = "no image"; w.Die(1); }, {"promote 002"}, ""},
      {"without the finalizer it comes first and alone", 3,
       [](World& w) { w.seen.group.meta.has_finalizer = false; w.Die(1); }, {"finalizer on"}, "-"},
  });
}

TEST(Untouched, ThePlanSaysWhy) {
  World paused;
  paused.spec().paused = true;
  EXPECT_EQ(ConditionOf(paused.Make(), "Stalled"), "False Progressing: Nothing waits for a human.");
  World invalid;
  invalid.seen.group.spec_error = "spec.port must be from 1024 to 65535.";
  EXPECT_EQ(ConditionOf(invalid.Make(), "Stalled"),
            "True InvalidSpec: spec.port must be from 1024 to 65535.");
  EXPECT_EQ(ConditionOf(invalid.Make(), "Ready"),
            "False InvalidSpec: spec.port must be from 1024 to 65535.");
}

TEST(Owned, Rows) {
  Check({
      {"an outdated object is applied", 3,
       [](World& w) { w.seen.owned[OwnedKind::kConfigMap] = OwnedState::kOutdated; },
       {"apply 1"}, "-"},
      {"nobody runs who knows passwords: they are made, and no member without them", 3,
       [](World& w) {
         w.seen.passwords_known = false;
         w.Unrecorded();
         w.seen.members.clear();
         w.seen.owned[OwnedKind::kSecret] = OwnedState::kAbsent;
       },
       {"apply 0"}, "-"},
      {"a deleted Secret whose passwords are known is put back", 3,
       [](World& w) { w.seen.owned[OwnedKind::kSecret] = OwnedState::kAbsent; }, {"apply 0"}, "-"},
      {"a Secret that a human changed is put back before anybody is born with it", 3,
       [](World& w) {
         w.Unrecorded();
         w.seen.members.clear();
         w.seen.owned[OwnedKind::kSecret] = OwnedState::kOutdated;
       },
       {"apply 0"}, "-"},
      {"running members never get new passwords", 3,
       [](World& w) {
         w.seen.passwords_known = false;
         w.seen.owned[OwnedKind::kSecret] = OwnedState::kAbsent;
       },
       {}, "-"},
      {"a foreign object is never overwritten", 3,
       [](World& w) { w.seen.owned[OwnedKind::kPrimaryService] = OwnedState::kForeign; }, {}, "-"},
      {"a foreign Secret: no member is made with it", 3,
       [](World& w) {
         w.Unrecorded();
         w.seen.members.clear();
         w.seen.owned[OwnedKind::kSecret] = OwnedState::kForeign;
       },
       {}, "-"},
  });
}

TEST(Owned, AForeignObjectNeedsAHuman) {
  World world;
  world.seen.owned[OwnedKind::kPrimaryService] = OwnedState::kForeign;
  EXPECT_EQ(ConditionOf(world.Make(), "Stalled").substr(0, 18), "True ForeignObject");
  World fresh;
  fresh.Unrecorded();
  fresh.seen.members.clear();
  fresh.seen.owned[OwnedKind::kSecret] = OwnedState::kForeign;
  EXPECT_EQ(ConditionOf(fresh.Make(), "Ready").substr(0, 19), "False ForeignObject");
}

TEST(Owned, LostPasswordsNeedAHuman) {
  World world;
  world.seen.passwords_known = false;
  world.seen.owned[OwnedKind::kSecret] = OwnedState::kAbsent;
  EXPECT_EQ(ConditionOf(world.Make(), "Stalled").substr(0, 15), "True SecretLost");
}

void Deleted(World& w) { w.seen.group.meta.deleting = true; }

TEST(Deletion, Rows) {
  const auto volume = [](World& w) {
    w.seen.volumes = {{"data-web-cache-001", "pvc-1", "9", "web-cache-001", false}};
    w.spec().storage = model::Storage{"1Gi", ""};
  };
  Check({
      {"every pod is deleted, by UID and resourceVersion", 2, [](World& w) { Deleted(w); },
       {"delete 001 uid=uid-001 rv=11", "delete 002 uid=uid-002 rv=12"}, "-"},
      {"while pods end nothing else happens", 2,
       [](World& w) { Deleted(w); w.pod(1).deleting = w.pod(2).deleting = true; }, {}, "-"},
      {"no pod left: the finalizer goes", 2,
       [](World& w) { Deleted(w); w.seen.members.clear(); }, {"finalizer off"}, "-"},
      {"UIDs without a pod do not hold the group up", 2,
       [](World& w) { Deleted(w); w.Vanish(1).Vanish(2); }, {"finalizer off"}, "-"},
      {"the escape: a node that never returns is forgotten", 2,
       [](World& w) {
         Deleted(w);
         w.pod(1).deleting = w.pod(2).deleting = true;
         w.seen.group.meta.forget_requested = true;
       },
       {"finalizer off"}, "-"},
      {"volumes are kept by default", 1,
       [&](World& w) { Deleted(w); volume(w); w.seen.members.clear(); }, {"finalizer off"}, "-"},
      {"deletionPolicy Delete: volumes first, the finalizer later", 1,
       [&](World& w) {
         Deleted(w);
         volume(w);
         w.seen.members.clear();
         w.spec().deletion_policy = model::DeletionPolicy::kDelete;
       },
       {"delete-volume data-web-cache-001 uid=pvc-1 rv=9"}, "-"},
      {"without our finalizer we have no say any more", 2,
       [](World& w) { Deleted(w); w.seen.group.meta.has_finalizer = false; }, {}, "-"},
      {"a paused group can be deleted", 1, [](World& w) { Deleted(w); w.spec().paused = true; },
       {"delete 001 uid=uid-001 rv=11"}, "-"},
  });
}

TEST(Deletion, WhileItWaitsTheEscapeIsNamed) {
  World world(1);
  Deleted(world);
  world.pod(1).deleting = true;
  const model::Plan plan = world.Make();
  EXPECT_EQ(plan.view.status, "deleting");
  EXPECT_NE(ConditionOf(plan, "Ready").find("regroup.dev/forget-unreachable-members"),
            std::string::npos) << ConditionOf(plan, "Ready");
}

}  // namespace
}  // namespace regroup::plan::testing
