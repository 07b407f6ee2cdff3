// From a failed primary to the next one: order, proof (a) to (d), the guard's arithmetic, resuming
// a transition, nothing-promotable.
#include "operator/plan/failover.h"

#include <gtest/gtest.h>

#include "tests/unit/plan/world.h"

namespace regroup::plan::testing {
namespace {

using model::Storage;

// Both replicas stand still, the primary's host is silent: a partition.
void Partition(World& w, std::int64_t quiet_ms = 2000) {
  w.Lose(1, quiet_ms);
  w.Still(2, 1600).Still(3, 1600);
}

constexpr char kGranted[] =
    "e4 primary=002 guard=off inSync= members=001,002,003 suspects=001 lineage=history-1@100 "
    "transition=001>002:PrimaryProcessDied";

TEST(Order, Rows) {
  Check({
      {"a crash: one CAS and the promotion, no detaching, no slice yet", 3,
       [](World& w) { w.Die(1); }, {"promote 002"}, kGranted},
      {"a link that is still up is waited for", 3,
       [](World& w) { w.Die(1); w.facts(3).link_up = true; }, {}, "-"},
      {"a suspect is watched, not touched", 3, [](World& w) { w.Lose(1, 1200); }, {}, "-"},
      {"a partition: first the reachable members are detached, nothing else", 3,
       [](World& w) { Partition(w); }, {"detach 002", "detach 003"}, "-"},
      {"one detach acknowledged: the other is asked again", 3,
       [](World& w) { Partition(w); w.Fence(2).Ack(2, kNow - 20); }, {"detach 003"}, "-"},
      {"all detached: the guard's time runs, nothing is sent", 3,
       [](World& w) {
         Partition(w);
         w.Fence(2).Ack(2, kNow - 20).Fence(3).Ack(3, kNow - 30);
       },
       {}, "-"},
      {"a member outside the record is not detached", 3,
       [](World& w) { Partition(w); w.AddFresh(4); }, {"detach 002", "detach 003"}, "-"},
      {"a restart in place: the new process is fenced already, the replica takes over", 3,
       [](World& w) { w.Restart(1); }, {"promote 002"},
       "e4 primary=002 guard=off inSync= members=001,002,003 suspects=001 lineage=history-1@100 "
       "transition=001>002:PrimaryRestarted"},
      {"a restart that is not fenced: it is fenced first", 3,
       [](World& w) { w.Restart(1); w.facts(1).is_primary = true; w.facts(1).primary_host = ""; },
       {"fence 001"}, "-"},
      {"the same process answers fenced before the CAS: it is granted again", 3,
       [](World& w) { w.Fence(1); }, {"promote 001"},
       "e4 primary=001 guard=off inSync= members=001,002,003 suspects= lineage=history-1@100 "
       "transition=001>001:PrimaryRestored"},
      {"the same process answers as primary again: its members are re-attached", 3,
       [](World& w) { w.Fence(2).Ack(2, kNow - 20); w.facts(1).replicas.erase(
           w.facts(1).replicas.begin()); },
       {"follow 002 10.0.0.1:6379", "reader-slice e3 rv=32 [003/10.0.0.3/zone-c]"},
       "e3 primary=001 guard=on inSync=003 members=001,002,003 suspects= lineage=history-1"},
      {"who has the old primary's address by now has its clients, too: a suspect", 3,
       [](World& w) {
         w.Die(1);
         w.Vanish(1);
         w.AddFresh(4);
         w.pod(4).ip = w.seen.primary_slice.endpoints.front().address;
       },
       {"promote 002"},
       "e4 primary=002 guard=off inSync= members=001,002,003 suspects=001,004 "
       "lineage=history-1@100 transition=001>002:PrimaryProcessDied"},
      {"the slice's epoch counts: the grant is above it", 3,
       [](World& w) { w.Die(1); w.options.no_record = false; w.seen.primary_slice.epoch = 7; },
       {"promote 002"},
       "e8 primary=002 guard=off inSync= members=001,002,003 suspects=001 lineage=history-1@100 "
       "transition=001>002:PrimaryProcessDied"},
  });
}

TEST(Order, AnObjectThatCannotBeAppliedDoesNotHoldAFailoverUp) {
  World world;
  world.Die(1);
  world.seen.owned[model::OwnedKind::kPrimaryBudget] = model::OwnedState::kOutdated;
  EXPECT_EQ(Joined(EffectsOf(world)), "apply 4; promote 002");
}

TEST(Order, NoPodIsMadeOrDeletedInTheRoundOfAFailover) {
  World world;
  world.Die(1);
  world.pod(1).failed = true;
  EXPECT_EQ(Joined(EffectsOf(world)), "promote 002");
}

TEST(Order, AFailoverIsWatchedClosely) {
  World world;
  world.Die(1);
  EXPECT_EQ(world.Make().attention, model::Attention::kUrgent);
  World suspected;
  suspected.Lose(1, 1200);
  EXPECT_EQ(suspected.Make().attention, model::Attention::kSuspect);
  EXPECT_EQ(suspected.Make().requeue_ms, 50);
}

// Detached at kNow - 4000 and kNow - `last_ms`.
void Detached(World& w, std::int64_t last_ms) {
  Partition(w, 9000);
  w.Fence(2).Ack(2, kNow - 4600).Fence(3).Ack(3, kNow - last_ms);
  w.engine(2).facts_at = w.engine(3).facts_at = kNow - 5;
}

TEST(Proof, ByTheWriteGuard) {
  constexpr char kByGuard[] =
      "e4 primary=002 guard=off inSync= members=001,002,003 suspects=001 lineage=history-1@100 "
      "transition=001>002:PrimaryUnreachable";
  Check({
      {"4,499 ms after the last detach: not yet", 3, [](World& w) { Detached(w, 4499); }, {}, "-"},
      {"4,500 ms after the last detach: lag 2 s + 2.5 s", 3,
       [](World& w) { Detached(w, 4500); }, {"promote 002"}, kByGuard},
      {"lag 5 s: 7,499 ms are not enough", 3,
       [](World& w) {
         Detached(w, 7499);
         w.seen.memory.fenced["uid-002"].at = kNow - 7499;
         w.spec().failover.write_guard_lag_seconds = 5;
       },
       {}, "-"},
      {"the guard was not recorded as on: never by waiting", 3,
       [](World& w) { Detached(w, 60'000); w.record().write_guard = false; }, {}, "-"},
      {"one member neither detached nor dead: never by waiting", 3,
       [](World& w) { Detached(w, 60'000); w.Lose(3, 60'000); w.seen.memory.fenced.erase(
           "uid-003"); }, {}, "-"},
      {"a member that is proven dead counts as detached", 3,
       [](World& w) { Detached(w, 60'000); w.seen.memory.fenced.erase("uid-003"); w.Fin(3, 9000); },
       {"promote 002"}, kByGuard},
      {"and its time is that of the refusal", 3,
       [](World& w) { Detached(w, 60'000); w.seen.memory.fenced.erase("uid-003"); w.Fin(3, 4000); },
       {}, "-"},
      {"a UID of the record whose pod object is gone may still follow", 3,
       [](World& w) { Detached(w, 60'000); w.record().members.push_back("uid-009"); }, {}, "-"},
      {"an acknowledgement of another run is none: it is detached again", 3,
       [](World& w) { Detached(w, 60'000); w.seen.memory.fenced["uid-003"].run_id = "run-0"; },
       {"detach 003"}, "-"},
      {"an acknowledgement from before it followed again is none", 3,
       [](World& w) {
         Partition(w, 9000);
         w.Fence(2).Ack(2, kNow - 4600).Ack(3, kNow - 600'000);
       },
       {"detach 003"}, "-"},
  });
}

TEST(Proof, WhatIsMissingIsSaid) {
  World world;
  Detached(world, 60'000);
  world.record().write_guard = false;
  EXPECT_EQ(ConditionOf(world.Make(), "Available"),
            "False PrimaryNotProvenSilent: The primary web-cache-001 does not answer (its host "
            "does not answer, for more than 1500 ms), but the write guard was not on, so "
            "web-cache-001 may still take writes; no replica is promoted while that is open.");
  World waiting;
  Detached(waiting, 4000);
  const model::Plan plan = waiting.Make();
  EXPECT_EQ(plan.requeue_ms, 10) << "a failover looks at least that often";
}

TEST(Proof, ByTheFence) {
  World world;
  world.Fence(1);  // a switchover fenced it, and its leader died
  world.pod(1).deleting = true;
  EXPECT_EQ(Joined(EffectsOf(world)), "fence 001")
      << "the fenced primary's replicas must read its last writes: they are not detached";
  world.Ack(1, kNow - 10, 140);
  EXPECT_EQ(Joined(EffectsOf(world)), "") << "no replica has the last writes yet";
  EXPECT_EQ(RecordOf(world), "-");
  world.facts(3).offset = 140;
  EXPECT_EQ(Joined(EffectsOf(world)), "promote 003");
  EXPECT_EQ(RecordOf(world),
            "e4 primary=003 guard=off inSync= members=001,002,003 suspects=001 "
            "lineage=history-1@140 transition=001>003:PrimaryDeleted");
  world.facts(3).offset = 100;
  world.Fence(1).Ack(1, kNow - 1000, 140);
  EXPECT_EQ(Joined(EffectsOf(world)), "promote 002") << "a second is enough to wait";
}

TEST(Planned, ADeletedPrimaryWithoutAReplicaGoesOnServing) {
  Check({
      {"no replica in sync", 2,
       [](World& w) {
         w.pod(1).deleting = true;
         w.facts(1).replicas.clear();
         w.Fence(2);
         w.record().in_sync.clear();
         w.record().write_guard = w.facts(1).guard_on = false;
         w.seen.reader_slice.endpoints = w.seen.primary_slice.endpoints;
       },
       {"follow 002 10.0.0.1:6379"}, "-"},
      {"no failover wanted", 2,
       [](World& w) { w.pod(1).deleting = true; w.spec().automatic_failover_enabled = false; },
       {"create 003 zone-a"}, "-"},
      {"its pod object is gone, it answers, nobody can follow an address that is not there", 2,
       [](World& w) {
         w.Vanish(1);
         w.facts(1).replicas.clear();
         w.Fence(2);
         w.record().in_sync.clear();
         w.record().write_guard = w.facts(1).guard_on = false;
         w.seen.reader_slice.endpoints = {};
       },
       {"create 001 zone-a"}, "-"},
  });
}

TEST(Transition, Resumed) {
  const std::string closed =
      "e4 primary=002 guard=off inSync= members=001,002,003 suspects=001 "
      "lineage=history-1@100,history-2";
  const auto promoted = [](World& w) {
    w.Die(1).InTransition(1, 2);
    w.AsPrimary(2);
    w.facts(2).repl_id = "history-2";
    w.facts(2).repl_id2 = "history-1";
    w.facts(2).second_repl_offset = 101;
  };
  Check({
      {"the new primary has not been told, or we do not know: told again", 3,
       [](World& w) { w.Die(1).InTransition(1, 2); }, {"promote 002"}, "-"},
      {"it does not answer: wait", 3,
       [](World& w) { w.Die(1).InTransition(1, 2); w.Lose(2, 300); }, {}, "-"},
      {"it answers as primary: its slice, alone", 3,
       [&](World& w) { promoted(w); },
       {"primary-slice e4 rv=31 [002/10.0.0.2/zone-b]"}, "-"},
      {"its slice is there: the transition ends, nobody follows in this round", 3,
       [&](World& w) {
         promoted(w);
         w.seen.primary_slice = {true, false, "41", 4,
                                 {{"uid-002", NameOf(2), "10.0.0.2", "node-2", "zone-b"}}};
       },
       {"event FailoverCompleted", "event RecoveringNodes"}, closed},
      {"the old primary is back, fenced and silent about it: after the endpoint has moved", 3,
       [&](World& w) { promoted(w); w.Restart(1); },
       {"primary-slice e4 rv=31 [002/10.0.0.2/zone-b]"}, "-"},
      {"the old primary is back as a writer: fenced", 3,
       [](World& w) { w.InTransition(1, 2); }, {"fence 001", "promote 002"}, "-"},
      {"a first primary: an Event without a failover", 1,
       [](World& w) {
         w.InTransition(0, 1);
         w.record().lineage = {};
         w.seen.primary_slice.epoch = 4;
         w.facts(1).guard_on = false;
       },
       {"event PrimaryGranted"},
       "e4 primary=001 guard=off inSync= members=001 suspects= lineage=history-1"},
  });
}

TEST(Transition, TheNewPrimaryFailsInIt) {
  Check({
      {"it is proven dead: the best holder of the history is next", 3,
       [](World& w) { w.Die(1).InTransition(1, 2).Fin(2, 50); },
       {"promote 003", "event DataLost"},
       "e5 primary=003 guard=off inSync= members=001,002,003 suspects=001,002 "
       "lineage=history-1@100 transition=002>003:PrimaryLostReplicaBehind"},
      {"it was restarted before it was told: the same", 3,
       [](World& w) { w.Die(1).InTransition(1, 2).Restart(2); },
       {"promote 003", "event DataLost"}, ""},
      {"it is merely silent: no second failover", 3,
       [](World& w) { w.Die(1).InTransition(1, 2); w.Lose(2, 30'000); w.LinkDown(3); },
       {}, "-"},
      {"a first primary that was restarted is granted anew", 1,
       [](World& w) { w.InTransition(0, 1).Restart(1); w.record().lineage = {}; },
       {"promote 001", "event DataLost"}, ""},
  });
}

TEST(Transition, TheFailoverIsReported) {
  World world;
  world.Die(1).InTransition(1, 2);
  world.AsPrimary(2);
  world.seen.primary_slice = {true, false, "41", 4,
                              {{"uid-002", NameOf(2), "10.0.0.2", "node-2", "zone-b"}}};
  const model::Plan plan = world.Make();
  ASSERT_TRUE(plan.record && plan.record->last_failover);
  const model::LastFailover& last = *plan.record->last_failover;
  EXPECT_EQ(last.from_name + ">" + last.to_name, "web-cache-001>web-cache-002");
  EXPECT_EQ(last.reason, "PrimaryProcessDied");
  EXPECT_EQ(last.duration_ms, 300);
  EXPECT_EQ(last.id, "0001-4");
}

TEST(AutomaticFailoverOff, Rows) {
  const auto off = [](World& w) { w.spec().automatic_failover_enabled = false; };
  Check({
      {"a crash is reported, nobody is touched", 3, [&](World& w) { off(w); w.Die(1); }, {}, "-"},
      {"a partition is reported, nobody is detached", 3,
       [&](World& w) { off(w); Partition(w); }, {}, "-"},
      {"a partition with storage: nobody is detached either", 3,
       [&](World& w) { off(w); Partition(w); w.spec().storage = Storage{"1Gi", ""}; }, {}, "-"},
      {"with storage the restarted primary is granted again on its own volume", 3,
       [&](World& w) {
         off(w);
         w.Restart(1);
         w.facts(1).keys = 10;
         w.spec().storage = Storage{"1Gi", ""};
       },
       {"promote 001"},
       "e4 primary=001 guard=off inSync= members=001,002,003 suspects= lineage=history-1 "
       "transition=001>001:PrimaryReturned"},
      {"with storage, but its file had not reached the disk: the same", 3,
       [&](World& w) { off(w); w.Restart(1); w.spec().storage = Storage{"1Gi", ""}; }, {}, "-"},
      {"memory only, restarted empty: the replicas hold the data, a human chooses", 3,
       [&](World& w) { off(w); w.Restart(1); }, {}, "-"},
      {"a group that is to have no replica hands over to the one that is left", 2,
       [&](World& w) { off(w); w.Die(1); w.spec().replicas = 0; }, {"promote 002"}, ""},
      {"memory only, everybody restarted: nothing is left to choose from", 2,
       [&](World& w) { off(w); w.Restart(1).Restart(2); },
       {"promote 001", "event DataLost"}, ""},
  });
  World world;
  off(world);
  world.Die(1);
  EXPECT_EQ(ConditionOf(world.Make(), "Available").substr(0, 32),
            "False AutomaticFailoverDisabled:");
}

TEST(NothingPromotable, MemoryOnly) {
  Check({
      {"every member restarted: start empty, and say so", 3,
       [](World& w) { w.Restart(1).Restart(2).Restart(3); },
       {"promote 001", "event DataLost"},
       "e4 primary=001 guard=off inSync= members=001,002,003 suspects= lineage=history-1@0 "
       "transition=001>001:AllMembersLost"},
      {"the preferred zone's member starts empty", 3,
       [](World& w) {
         w.Restart(1).Restart(2).Restart(3);
         w.spec().preferred_cache_cluster_azs = {"zone-c"};
       },
       {"promote 003", "event DataLost"}, ""},
      {"who was read before the end was seen may have been filled since: wait", 3,
       [](World& w) {
         w.Restart(1).Restart(2).Restart(3);
         w.engine(2).facts_at = w.seen.memory.ended_at = kNow - 200;
         w.seen.memory.ended_run = "run-1";
       },
       {}, "-"},
      {"an earlier process of that member ended, and somebody listens there now: wait", 3,
       [](World& w) {
         w.Restart(1).Restart(2).Fin(3, 900);
         w.engine(3).reach = model::Reach::kSilent;
       },
       {}, "-"},
      {"its host cannot be reached, and the kubelet may have started another one: wait", 3,
       [](World& w) {
         w.Restart(1).Restart(2).Fin(3, 900);
         w.engine(3).reach = model::Reach::kUnreachable;
       },
       {}, "-"},
      {"nobody listens there: start empty", 3,
       [](World& w) { w.Restart(1).Restart(2).Fin(3, 900); },
       {"promote 001", "event DataLost"}, ""},
      {"who loads now may hold the data a moment later: wait", 3,
       [](World& w) {
         w.Restart(1).Restart(2).Restart(3);
         w.facts(2).loading = true;
       },
       {}, "-"},
      {"a member that was to follow and was never filled starts empty", 2,
       [](World& w) {
         w.Die(1);
         w.record().in_sync.clear();
         w.facts(2).keys = w.facts(2).offset = 0;
         w.facts(2).repl_id = "own-2";
       },
       {"promote 002", "event DataLost"}, ""},
      {"one member is unaccounted for: wait", 3,
       [](World& w) { w.Restart(1).Restart(2); w.Lose(3, 90'000); }, {}, "-"},
      {"one member is dead: it does not come back with data", 3,
       [](World& w) { w.Restart(1).Restart(2); w.Fin(3, 90'000); },
       {"promote 001", "event DataLost"}, ""},
      {"a holder that was not in sync takes over, with an Event", 3,
       [](World& w) { w.Restart(1).Restart(2); w.record().in_sync.pop_back(); },
       {"promote 003", "event DataLost"},
       "e4 primary=003 guard=off inSync= members=001,002,003 suspects=001 lineage=history-1@100 "
       "transition=001>003:PrimaryLostReplicaBehind"},
      {"a stranger with keys is never granted, and nobody starts empty beside it", 3,
       [](World& w) {
         w.Restart(1).Restart(2).Restart(3);
         w.facts(3).keys = 4;
         std::erase(w.record().members, w.at(3).uid);
       },
       {}, "-"},
      {"a lone member that restarted is granted at once", 1, [](World& w) { w.Restart(1); },
       {"promote 001", "event DataLost"}, ""},
      {"a primary that may return with its data is waited for", 3,
       [](World& w) {
         Detached(w, 60'000);
         w.record().in_sync.clear();
       },
       {}, "-"},
  });
}

TEST(NothingPromotable, WithStorage) {
  const auto storage = [](World& w) { w.spec().storage = Storage{"1Gi", ""}; };
  Check({
      {"a replica in sync takes over as without storage", 3,
       [&](World& w) { storage(w); w.Restart(1); }, {"promote 002"}, ""},
      {"all restarted: the recorded primary again, on its own volume", 3,
       [&](World& w) { storage(w); w.Restart(1).Restart(2).Restart(3); },
       {"promote 001"}, ""},
      {"lost in the middle of its transition, in a group that is large enough: by name again", 3,
       [&](World& w) {
         storage(w);
         w.AddFresh(4).InTransition(1, 2);
         w.record().suspects.clear();
         w.record().members.push_back("uid-004");
         w.Restart(1).Restart(3).Fin(2, 60'000);
         w.at(2).departed = w.at(2).pod;
         w.Vanish(2);
       },
       {"create 002 zone-b"}, "-"},
      {"its file had not reached the disk: a replica that was not in sync holds more", 3,
       [&](World& w) {
         storage(w);
         w.Restart(1).LinkDown(2).LinkDown(3);
         w.record().in_sync.clear();
         w.facts(3).keys = 0;
       },
       {"promote 002", "event DataLost"}, ""},
      {"its file had not reached the disk, and others hold what nobody knows: a human chooses", 3,
       [&](World& w) {
         storage(w);
         w.Restart(1).LinkDown(2).LinkDown(3);
         w.record().in_sync.clear();
         w.record().lineage.clear();
       },
       {}, "-"},
      {"while it loads: wait", 3,
       [&](World& w) {
         storage(w);
         w.Restart(1).Restart(2).Restart(3);
         w.facts(1).loading = true;
       },
       {}, "-"},
      {"it is not back yet: nobody else is granted", 3,
       [&](World& w) { storage(w); w.Fin(1, 90'000).Restart(2).Restart(3); }, {}, "-"},
  });
  World world;
  storage(world);
  world.Fin(1, 90'000).Restart(2).Restart(3);
  const std::string said = ConditionOf(world.Make(), "Available");
  EXPECT_NE(said.find("False WaitingForPrimary"), std::string::npos) << said;
  EXPECT_NE(said.find("web-cache-002 was not in sync; web-cache-003 was not in sync"),
            std::string::npos) << said;
  World unknown;
  storage(unknown);
  unknown.Restart(1).LinkDown(2).LinkDown(3);
  unknown.record().in_sync.clear();
  unknown.record().lineage.clear();
  EXPECT_EQ(ConditionOf(unknown.Make(), "Stalled").substr(0, 20), "True UnknownHistory:");
}

// The record names a container that the kubelet, which was late, reports as ended, while the
// granted process answers: no proof of a later death.
TEST(Proof, TheContainerOfAnEarlierProcessIsNoneOfThis) {
  World world;
  world.pod(1).restart_count = 1;
  world.pod(1).container_id = "containerd://c1-b";
  world.pod(1).terminated_container_id = "containerd://c1";
  world.pod(1).terminated_reason = "Error";
  const model::Plan plan = world.Make();
  ASSERT_TRUE(plan.record);
  EXPECT_EQ(plan.record->primary->container_id, "");
}

// The recorded container is the one that started when the answering process did.
TEST(Proof, TheContainerIsRecordedWhenItsStartFitsTheProcess) {
  World world;
  world.record().primary->container_id.clear();
  const WallMs began = world.seen.wall_now - 600'000;
  world.pod(1).running = true;
  world.pod(1).started_wall_ms = began - 20'000;  // an older container: the status is behind
  EXPECT_FALSE(world.Make().record);
  world.pod(1).started_wall_ms = began;
  const model::Plan plan = world.Make();
  ASSERT_TRUE(plan.record);
  EXPECT_EQ(plan.record->primary->container_id, "containerd://c1");
}

// Found on a cluster: the reader's slice was written 74 ms before the primary's, which kube-proxy
// then followed a second later.
TEST(Order, ALostLinkWaitsForThePrimarysAnswer) {
  World world;
  world.LinkDown(2);
  world.engine(2).link_down_since = kNow - 5;
  world.engine(1).facts_at = kNow - 500;
  EXPECT_TRUE(world.Make().effects.empty());
  EXPECT_FALSE(world.Make().record);
  EXPECT_EQ(world.Make().attention, model::Attention::kUrgent);
  world.engine(1).facts_at = kNow - 1;  // it lives: the replica leaves the reader's slice
  EXPECT_FALSE(world.Make().effects.empty());
}

// Seeds 375 and 1217: the primary renamed its history for its first replica and died before the new
// name was recorded. The only holder of data is granted, two are for a human.
TEST(NothingPromotable, ASingleHolderOfAnUnrecordedHistory) {
  World world;
  world.Die(1);
  for (const int i : {2, 3}) {
    world.Fence(i);
    world.facts(i).repl_id = "renamed";
  }
  world.record().in_sync.clear();
  world.facts(3).keys = 0;
  world.facts(2).keys = 5;
  const model::Plan plan = world.Make();
  ASSERT_TRUE(plan.record);
  EXPECT_EQ(plan.record->primary->name, "web-cache-002");
  world.facts(3).keys = 4;
  EXPECT_FALSE(world.Make().record);
  EXPECT_EQ(ConditionOf(world.Make(), "Stalled").substr(0, 20), "True UnknownHistory:");
}

// A watch that is behind shows an earlier pod at the address where a new one's process answers.
TEST(Grant, AProcessIsConfirmedOnceToBeOfItsPod) {
  World world;
  world.Die(1);
  model::Plan plan = world.Make();
  ASSERT_EQ(plan.confirm.size(), 1U);
  EXPECT_EQ(plan.confirm[0].name + " " + plan.confirm[0].uid + " " + plan.confirm[0].run_id,
            "web-cache-002 uid-002 run-2");
  world.seen.memory.confirmed["uid-002"] = "run-2";
  EXPECT_TRUE(world.Make().confirm.empty());
  world.seen.memory.confirmed["uid-002"] = "an earlier run";
  EXPECT_EQ(world.Make().confirm.size(), 1U);
}

// Granting a process that is a primary already closes its history, but the engine goes on with it.
TEST(History, AGrantOfTheSameProcessGoesOnWithItsHistory) {
  World world;
  world.InTransition(1, 1);
  world.record().lineage.back().up_to = 50;
  world.facts(1).repl_id = world.record().lineage.back().repl_id;
  world.facts(1).is_primary = true;
  world.seen.primary_slice.epoch = world.record().epoch;
  const model::Plan plan = world.Make();
  ASSERT_TRUE(plan.record);
  EXPECT_EQ(plan.record->lineage.back().up_to, -1);
}

TEST(LostLinks, ADeadPrimaryWithAnUnheardReplica) {
  World world;
  world.Die(1);
  world.Lose(3, 300);
  EXPECT_EQ(Joined(EffectsOf(world)), "promote 002") << "whoever cannot be asked has no say";
}

TEST(Detection, CountsFromTheEndOfTheProcessUnlessItHadHungBefore) {
  World died;
  died.Die(1);
  ASSERT_TRUE(died.Make().record.has_value());
  EXPECT_EQ(died.Make().record->transition->detect_ms, 50);
  World hung;
  hung.Die(1);
  hung.engine(1).last_heard = kNow - 6000;
  ASSERT_TRUE(hung.Make().record.has_value());
  EXPECT_EQ(hung.Make().record->transition->detect_ms, 6000);
  World freeing;  // a process of many gigabytes: its sockets close only when its memory is free
  freeing.Die(1);
  freeing.engine(1).last_heard = kNow - 1400;
  ASSERT_TRUE(freeing.Make().record.has_value());
  EXPECT_EQ(freeing.Make().record->transition->detect_ms, 50);
}

}  // namespace
}  // namespace regroup::plan::testing
