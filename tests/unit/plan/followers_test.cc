// A served group: strangers, followers, the in-sync list and the write guard, the two slices, old
// clients, settings, labels, and UIDs that leave the record.
#include <gtest/gtest.h>

#include "tests/unit/plan/world.h"

namespace regroup::plan::testing {
namespace {

const char kReader3[] = "reader-slice e3 rv=32 [002/10.0.0.2/zone-b 003/10.0.0.3/zone-c]";

TEST(Strangers, Rows) {
  Check({
      {"a writer that is not the recorded primary is fenced", 3,
       [](World& w) { w.AddFresh(4); w.spec().replicas = 3; w.facts(4).is_primary = true; },
       {"fence 004", "set-config 004 maxmemory=100", "set-acl 004"}, "-"},
      {"a former primary is fenced before it may follow", 3,
       [](World& w) {
         w.Fence(3);
         w.record().suspects = {"uid-003"};
         w.record().in_sync.pop_back();
         w.facts(1).replicas.pop_back();
         w.seen.reader_slice.endpoints.pop_back();
       },
       {"fence 003"}, "-"},
      {"once that is acknowledged it follows, and stays a suspect while its clients are shed", 3,
       [](World& w) {
         w.Fence(3).Ack(3, kNow - 10);
         w.seen.memory.demoted_at["uid-003"] = kNow - 10;
         w.record().suspects = {"uid-003"};
         w.record().in_sync.pop_back();
         w.facts(1).replicas.pop_back();
         w.seen.reader_slice.endpoints.pop_back();
       },
       {"follow 003 10.0.0.1:6379"}, "-"},
      {"its clients are shed: it is a suspect no more", 3,
       [](World& w) {
         w.record().suspects = {"uid-003"};
         w.seen.memory.demoted_at["uid-003"] = kNow - 6000;
         w.seen.memory.clients_cut["uid-003"] = 4;
       },
       {}, "e3 primary=001 guard=on inSync=002,003 members=001,002,003 suspects= "
       "lineage=history-1"},
      {"one that another leader let follow stays with the primary; only its clients are cut off", 3,
       [](World& w) { w.record().suspects = {"uid-003"}; w.Lose(1, 1200); },
       {"cut-clients 003"}, "-"},
      {"a stranger is fenced even while the primary is suspected", 3,
       [](World& w) { w.Lose(1, 1200); w.facts(2).is_primary = true; }, {"fence 002"}, "-"},
  });
}

// With a thousand groups it takes a new leader seconds to open its connections; meanwhile the
// primary tells that its replicas are there.
TEST(Unheard, AReplicaThatThePrimaryHearsStaysInSync) {
  const auto unheard = [](World& w, int index) {
    w.engine(index) = {};
    w.seen.group.view = World().Make().view;
  };
  World both;
  unheard(both, 2);
  unheard(both, 3);
  const model::Plan plan = both.Make();
  EXPECT_EQ(Joined(EffectsOf(plan)) + RecordOf(plan), "-");
  EXPECT_EQ(plan.view, both.seen.group.view);
  World late;
  unheard(late, 3);
  late.facts(1).replicas.pop_back();
  EXPECT_NE(RecordOf(late.Make()), "-") << "the primary does not hear it either";
  World silent;
  unheard(silent, 3);
  silent.engine(3).reach = model::Reach::kUnreachable;
  EXPECT_NE(RecordOf(silent.Make()), "-") << "its host was asked";
}

// A new member 4 that is settled but follows nobody.
void Fresh(World& w, int index) {
  w.AddFresh(index);
  w.spec().replicas = index - 1;
  const std::string run = w.facts(index).run_id;
  w.seen.memory.applied_acl[run] = "acl-1";
  w.Applied(run, "maxmemory", "100");
  w.pod(index).role_label = "syncing";
}

TEST(Following, Rows) {
  Check({
      {"a new member enters the record in the CAS before its first REPLICAOF", 3,
       [](World& w) { Fresh(w, 4); }, {"cut-clients 004", "follow 004 10.0.0.1:6379"},
       "e3 primary=001 guard=on inSync=002,003 members=001,002,003,004 suspects= "
       "lineage=history-1"},
      {"two new members: one full sync at a time", 3,
       [](World& w) { Fresh(w, 4); Fresh(w, 5); },
       {"cut-clients 004", "follow 004 10.0.0.1:6379"}, ""},
      {"a full sync under way: the next one waits", 3,
       [](World& w) {
         Fresh(w, 4);
         Fresh(w, 5);
         w.record().members.push_back("uid-004");
         w.facts(4).primary_host = "10.0.0.1";
         w.facts(4).primary_port = 6379;
         w.facts(4).sync_in_progress = true;
       },
       {"set-config 001 repl-timeout=10"}, "-"},
      {"a line that is not online yet is a sync under way", 3,
       [](World& w) {
         Fresh(w, 4);
         Fresh(w, 5);
         w.record().members.push_back("uid-004");
         w.facts(4).primary_host = "10.0.0.1";
         w.facts(4).primary_port = 6379;
         w.facts(1).replicas.push_back({"10.0.0.4", 6379, false, 0, 0});
       },
       {"set-config 001 repl-timeout=10"}, "-"},
      {"a partial resync waits for nobody", 3,
       [](World& w) {
         Fresh(w, 4);
         Fresh(w, 5);
         w.facts(5).repl_id = "history-1";
       },
       {"cut-clients 004", "follow 004 10.0.0.1:6379", "cut-clients 005",
        "follow 005 10.0.0.1:6379"},
       ""},
      {"the history before the take-over counts, up to its end", 3,
       [](World& w) {
         Fresh(w, 4);
         Fresh(w, 5);
         w.facts(1).repl_id2 = "history-0";
         w.facts(1).second_repl_offset = 90;
         w.facts(4).repl_id = w.facts(5).repl_id = "history-0";
         w.facts(4).offset = 91;
         w.facts(5).offset = 90;
       },
       {"cut-clients 004", "follow 004 10.0.0.1:6379", "cut-clients 005",
        "follow 005 10.0.0.1:6379"},
       ""},
      {"a member that loads, or goes away, is left alone", 3,
       [](World& w) { Fresh(w, 4); w.facts(4).loading = true; }, {}, "-"},
      {"a member that follows an old address is repointed", 3,
       [](World& w) { w.facts(3).primary_host = "10.0.0.9"; w.facts(3).repl_id = "history-1"; },
       {"follow 003 10.0.0.1:6379", "reader-slice e3 rv=32 [002/10.0.0.2/zone-b]"},
       "e3 primary=001 guard=on inSync=002 members=001,002,003 suspects= lineage=history-1"},
      {"a changed replID of the same process is recorded first", 3,
       [](World& w) { w.facts(1).repl_id = "history-2"; w.facts(1).offset = 105; }, {},
       "e3 primary=001 guard=on inSync=002,003 members=001,002,003 suspects= "
       "lineage=history-1@105,history-2"},
      {"a take-over closes the older stretch where the engine says", 3,
       [](World& w) {
         w.facts(1).repl_id = "history-2";
         w.facts(1).repl_id2 = "history-1";
         w.facts(1).second_repl_offset = 101;
       },
       {},
       "e3 primary=001 guard=on inSync=002,003 members=001,002,003 suspects= "
       "lineage=history-1@100,history-2"},
  });
}

TEST(Following, TheLineageKeepsTheLastEight) {
  World world;
  world.record().lineage.clear();
  for (int i = 1; i <= 8; ++i) world.record().lineage.push_back({"h" + std::to_string(i), i});
  const model::Plan plan = world.Make();
  ASSERT_TRUE(plan.record);
  ASSERT_EQ(plan.record->lineage.size(), 8U);
  EXPECT_EQ(plan.record->lineage.front().repl_id, "h2");
  EXPECT_EQ(plan.record->lineage.back().repl_id, "history-1");
}

void GuardOff(World& w) {
  w.Applied("run-1", "repl-timeout", "10");
  w.record().write_guard = w.facts(1).guard_on = false;
  w.record().in_sync.clear();
}

// The record says off; the last INFO shows the engine's guard as `shown`.
void Unrecorded(World& w, bool shown) {
  GuardOff(w);
  w.facts(1).guard_on = shown;
  w.seen.reader_slice.endpoints = w.seen.primary_slice.endpoints;
}

// This leadership switched it on.
void Armed(World& w, std::int64_t ago_ms, std::uint64_t token) {
  w.seen.memory.guarded["uid-001"] = {"run-1", kNow - ago_ms, 100, token};
}

TEST(WriteGuard, Rows) {
  const auto replicas_lost = [](World& w) { w.facts(1).replicas.clear(); };
  Check({
      {"arm: the engine first, the record stays", 3, [](World& w) { Unrecorded(w, false); },
       {"guard-on 001"}, "-"},
      {"an INFO that shows it on may be older than the command that switched it off", 3,
       [](World& w) { Unrecorded(w, true); }, {"guard-on 001"}, "-"},
      {"armed on a connection that is gone: another operator may have been there since", 3,
       [](World& w) { Unrecorded(w, true); Armed(w, 150, 7); }, {"guard-on 001"}, "-"},
      {"armed, and a younger INFO shows it off: once more", 3,
       [](World& w) { Unrecorded(w, false); Armed(w, 150, 0); }, {"guard-on 001"}, "-"},
      {"armed: now the record, and in the same round what follows from it", 3,
       [](World& w) { Unrecorded(w, false); Armed(w, 50, 0); }, {kReader3},
       "e3 primary=001 guard=on inSync=002,003 members=001,002,003 suspects= lineage=history-1"},
      {"one of two replicas lags: it leaves the list, the guard stays", 3,
       [](World& w) { w.facts(1).replicas[1].lag_seconds = 2; },
       {"reader-slice e3 rv=32 [002/10.0.0.2/zone-b]"},
       "e3 primary=001 guard=on inSync=002 members=001,002,003 suspects= lineage=history-1"},
      {"a lag of two that was seen just now may be the engine's whole seconds", 3,
       [](World& w) {
         w.facts(1).replicas[1].lag_seconds = 2;
         w.engine(1).late_since["10.0.0.3"] = w.engine(1).facts_at - 249;
       },
       {}, "-"},
      {"it is still there a quarter of a second later: it leaves", 3,
       [](World& w) {
         w.facts(1).replicas[1].lag_seconds = 2;
         w.engine(1).late_since["10.0.0.3"] = w.engine(1).facts_at - 250;
       },
       {"reader-slice e3 rv=32 [002/10.0.0.2/zone-b]"},
       "e3 primary=001 guard=on inSync=002 members=001,002,003 suspects= lineage=history-1"},
      {"a lag of three is no rounding", 3,
       [](World& w) {
         w.facts(1).replicas[1].lag_seconds = 3;
         w.engine(1).late_since["10.0.0.3"] = w.engine(1).facts_at - 10;
       },
       {"reader-slice e3 rv=32 [002/10.0.0.2/zone-b]"},
       "e3 primary=001 guard=on inSync=002 members=001,002,003 suspects= lineage=history-1"},
      {"with a guard of one second there is no time to wait", 3,
       [](World& w) {
         w.spec().failover.write_guard_lag_seconds = 1;
         w.record().guard_lag_seconds = 2;
         w.facts(1).replicas[1].lag_seconds = 2;
         w.engine(1).late_since["10.0.0.3"] = w.engine(1).facts_at - 10;
       },
       {"reader-slice e3 rv=32 [002/10.0.0.2/zone-b]"}, ""},
      {"nobody comes into the list with it", 3,
       [](World& w) {
         w.record().in_sync.pop_back();
         w.seen.reader_slice.endpoints.pop_back();
         w.facts(1).replicas[1].lag_seconds = 2;
         w.engine(1).late_since["10.0.0.3"] = w.engine(1).facts_at - 10;
       },
       {}, "-"},
      {"a lag of one second is small", 3, [](World& w) { w.facts(1).replicas[1].lag_seconds = 1; },
       {}, "-"},
      {"lift: the record (CAS) before the engine, in one round", 3, replicas_lost,
       {"guard-off 001", "reader-slice e3 rv=32 [001/10.0.0.1/zone-a]"},
       "e3 primary=001 guard=off inSync= members=001,002,003 suspects= lineage=history-1"},
      {"lifted in the record, not yet in the engine", 3,
       [&](World& w) {
         replicas_lost(w);
         w.record().write_guard = false;
         w.record().in_sync.clear();
         w.seen.reader_slice.endpoints = w.seen.primary_slice.endpoints;
       },
       {"guard-off 001", "set-config 001 repl-timeout=10"}, "-"},
      {"policy Off: never armed", 3,
       [](World& w) {
         GuardOff(w);
         w.spec().failover.write_guard = model::WriteGuardPolicy::kOff;
         w.seen.reader_slice.endpoints = w.seen.primary_slice.endpoints;
       },
       {kReader3},
       "e3 primary=001 guard=off inSync=002,003 members=001,002,003 suspects= lineage=history-1"},
      {"policy turned Off: lifted", 3,
       [](World& w) { w.spec().failover.write_guard = model::WriteGuardPolicy::kOff; },
       {"guard-off 001"},
       "e3 primary=001 guard=off inSync=002,003 members=001,002,003 suspects= lineage=history-1"},
      {"a replica's own word does not make it in sync", 3,
       [](World& w) { w.facts(1).replicas[1].online = false; },
       {"reader-slice e3 rv=32 [002/10.0.0.2/zone-b]", "set-config 001 repl-timeout=10"},
       "e3 primary=001 guard=on inSync=002 members=001,002,003 suspects= lineage=history-1"},
      {"a replica outside `members` is never in sync", 3,
       [](World& w) { w.record().members.pop_back(); },
       {"reader-slice e3 rv=32 [002/10.0.0.2/zone-b]"},
       "e3 primary=001 guard=on inSync=002 members=001,002 suspects= lineage=history-1"},
      {"a replica that is going away leaves the list", 3,
       [](World& w) { w.pod(3).deleting = true; },
       {"reader-slice e3 rv=32 [002/10.0.0.2/zone-b]"},
       "e3 primary=001 guard=on inSync=002 members=001,002,003 suspects= lineage=history-1"},
  });
}

TEST(Endpoints, Rows) {
  Check({
      {"no primary slice: it is created, alone", 3,
       [](World& w) { w.seen.primary_slice = {}; w.seen.reader_slice = {}; },
       {"primary-slice e3 rv= [001/10.0.0.1/zone-a]"}, "-"},
      {"a lower epoch is overwritten", 3, [](World& w) { w.seen.primary_slice.epoch = 2; },
       {"primary-slice e3 rv=31 [001/10.0.0.1/zone-a]"}, "-"},
      {"a new address of the primary", 3,
       [](World& w) { w.seen.primary_slice.endpoints[0].address = "10.0.0.77"; },
       {"primary-slice e3 rv=31 [001/10.0.0.1/zone-a]"}, "-"},
      {"no reader slice: created with the replicas in sync and their zones", 3,
       [](World& w) { w.seen.reader_slice = {}; },
       {"reader-slice e3 rv= [002/10.0.0.2/zone-b 003/10.0.0.3/zone-c]"}, "-"},
      {"a member that was made for any zone is served with its node's", 3,
       [](World& w) { w.pod(2).zone.clear(); w.seen.reader_slice.endpoints.clear(); }, {kReader3},
       "-"},
      {"a reader slice of a lower epoch is rewritten", 3,
       [](World& w) { w.seen.reader_slice.epoch = 2; }, {kReader3}, "-"},
      {"a reader slice of a higher epoch is left alone", 3,
       [](World& w) { w.seen.reader_slice.epoch = 9; w.seen.reader_slice.endpoints.clear(); },
       {}, "-"},
      {"without a replica the primary serves reads", 1, [](World& w) { w.seen.reader_slice = {}; },
       {"reader-slice e3 rv= [001/10.0.0.1/zone-a]"}, "-"},
      {"foreign slices are never written", 3,
       [](World& w) {
         w.seen.primary_slice.foreign = w.seen.reader_slice.foreign = true;
         w.seen.primary_slice.endpoints.clear();
         w.seen.reader_slice.endpoints.clear();
       },
       {}, "-"},
      {"a demoted primary waits for its fourth cut before it serves reads", 3,
       [](World& w) {
         w.seen.memory.demoted_at["uid-003"] = kNow - 3000;
         w.seen.memory.clients_cut["uid-003"] = 3;
       },
       {"reader-slice e3 rv=32 [002/10.0.0.2/zone-b]"}, "-"},
      {"and serves them after it", 3,
       [](World& w) {
         w.seen.memory.demoted_at["uid-003"] = kNow - 6000;
         w.seen.memory.clients_cut["uid-003"] = 4;
       },
       {}, "-"},
  });
}

TEST(OldClients, WhoHasTheAddressThatTheEndpointLeftShedsThemToo) {
  World world;
  world.pod(3).first_seen = kNow - 400;
  world.seen.memory.endpoint_left["10.0.0.3"] = kNow - 500;
  world.seen.memory.endpoint_at = kNow - 500;
  world.seen.memory.clients_cut["uid-003"] = 1;
  world.seen.reader_slice.endpoints.pop_back();
  EXPECT_EQ(Joined(EffectsOf(world)), "cut-clients 003");
  EXPECT_NE(RecordOf(world).find("suspects=003"), std::string::npos) << "for the next leader";
  world.pod(3).first_seen = kNow + 20'000;  // long after: nobody came to it
  EXPECT_NE(Joined(EffectsOf(world)).find("reader-slice"), std::string::npos);
}

// What the endpoint named under an earlier leader is not known.
TEST(OldClients, WhoIsBornAsALeadershipBeginsMayHaveSuchAnAddress) {
  World world;
  world.seen.memory.leading_since = kNow - 500;
  world.seen.memory.clients_cut["uid-003"] = 1;
  world.pod(3).started_wall_ms = world.seen.wall_now - 400;
  world.seen.reader_slice.endpoints.pop_back();
  EXPECT_EQ(Joined(EffectsOf(world)), "cut-clients 003");
  world.pod(3).started_wall_ms = world.seen.wall_now - 60'000;
  EXPECT_NE(Joined(EffectsOf(world)).find("reader-slice"), std::string::npos);
}

TEST(OldClients, TheStepsAreAtATenthAHalfTwoAndFiveSeconds) {
  struct Step {
    int done;
    std::int64_t ms;
    bool cut;
  };
  for (const Step& step : std::vector<Step>{{0, 99, false}, {0, 100, true}, {1, 499, false},
                                            {1, 500, true}, {2, 1999, false}, {2, 2000, true},
                                            {3, 4999, false}, {3, 5000, true}, {4, 9999, false}}) {
    SCOPED_TRACE("step " + std::to_string(step.done) + " at " + std::to_string(step.ms));
    World world;
    world.seen.memory.demoted_at["uid-003"] = kNow - step.ms;
    world.seen.memory.clients_cut["uid-003"] = step.done;
    if (step.done < 4) world.seen.reader_slice.endpoints.pop_back();
    EXPECT_EQ(Joined(EffectsOf(world)), step.cut ? "cut-clients 003" : "");
  }
}

TEST(Settings, Rows) {
  Check({
      {"a parameter that changed goes to each member", 2,
       [](World& w) { w.seen.live_parameters["timeout"] = "30"; },
       {"set-config 001 timeout=30", "set-config 002 timeout=30"}, "-"},
      {"a changed rule of the default user", 2, [](World& w) { w.seen.acl_hash = "acl-2"; },
       {"set-acl 001", "set-acl 002"}, "-"},
      {"a new replica in sync may serve while its link is broken", 2,
       [](World& w) { w.Applied("run-2", "replica-serve-stale-data", "no"); },
       {"set-config 002 replica-serve-stale-data=yes"}, "-"},
      {"a member that loads is not touched", 2,
       [](World& w) {
         w.facts(2).loading = true;
         w.seen.live_parameters["timeout"] = "30";
         w.seen.reader_slice.endpoints = w.seen.primary_slice.endpoints;
         GuardOff(w);
       },
       {"set-config 001 timeout=30", "label 002 syncing"}, "-"},
      {"role labels follow the record", 3,
       [](World& w) { w.pod(1).role_label = "replica"; w.pod(3).role_label = ""; },
       {"label 001 primary", "label 003 replica"}, "-"},
      {"a replica that is filled anew is none that an eviction may count on", 3,
       [](World& w) {
         w.facts(1).replicas.front().online = false;
         w.facts(2).sync_in_progress = true;
         w.record().in_sync.erase(w.record().in_sync.begin());
         w.seen.reader_slice.endpoints.erase(w.seen.reader_slice.endpoints.begin());
       },
       {"set-config 001 repl-timeout=10", "label 002 syncing"}, "-"},
  });
}

TEST(Farewells, Rows) {
  const auto gone = [](World& w) {
    w.pod(3).deleting = true;
    w.engine(3).reach = model::Reach::kRefused;
    w.record().in_sync.pop_back();
    w.facts(1).replicas.pop_back();
    w.seen.reader_slice.endpoints.pop_back();
    w.spec().replicas = 1;
  };
  const char without3[] =
      "e3 primary=001 guard=on inSync=002 members=001,002 suspects= lineage=history-1";
  Check({
      {"a deleted member that is not proven dead stays in the record", 3, gone, {}, "-"},
      {"FIN and refusal: it leaves", 3, [&](World& w) { gone(w); w.Fin(3, 100); }, {}, without3},
      {"the kubelet's word: it leaves", 3,
       [&](World& w) {
         gone(w);
         w.pod(3).terminated_container_id = "containerd://c3";
         w.pod(3).terminated_reason = "Completed";
       },
       {}, without3},
      {"a pod object that vanished proves nothing", 3,
       [&](World& w) { gone(w); w.Vanish(3); }, {}, "-"},
      {"unless its last word was the end of its container", 3,
       [&](World& w) {
         gone(w);
         w.pod(3).terminated_container_id = "containerd://c3";
         w.pod(3).terminated_reason = "Completed";
         w.at(3).departed = w.pod(3);
         w.Vanish(3);
       },
       {}, without3},
      {"a dead process in a pod that lives on will be back: it stays", 3,
       [&](World& w) {
         gone(w);
         w.Fin(3, 100);
         w.pod(3).deleting = false;
         w.spec().replicas = 2;
       },
       {}, "-"},
      {"a suspect that is proven dead is no suspect", 3,
       [&](World& w) { gone(w); w.Fin(3, 100); w.record().suspects = {"uid-003"}; }, {}, without3},
  });
}

}  // namespace
}  // namespace regroup::plan::testing
