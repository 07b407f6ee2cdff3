// Changes of the primary that lose nothing because they were planned (rule planned), the end that
// is made where silence cannot be waited for (kill-not-wait), cool-down's pauses, TestFailover.
#include <gtest/gtest.h>

#include "operator/plan/switchover.h"
#include "tests/unit/plan/world.h"

namespace regroup::plan::testing {
namespace {

using model::Stage;

constexpr char kSwitching[] =
    "e4 primary=002 guard=on inSync=002,003 members=001,002,003 suspects=001 lineage=history-1 "
    "transition=001>002:";

std::string Switching(const std::string& reason) { return kSwitching + reason + " switching"; }

// A planned transition from 1 to 2 whose CAS is made.
World& Handing(World& w, Stage stage = Stage::kSwitching) {
  w.InTransition(1, 2);
  w.record().write_guard = true;
  w.record().in_sync = {{"uid-001", "run-2"}, {"uid-002", "run-3"}};
  w.record().in_sync = {{w.at(2).uid, "run-2"}, {w.at(3).uid, "run-3"}};
  w.record().lineage.back().up_to = -1;
  w.record().transition->stage = stage;
  w.record().transition->planned = true;
  w.record().transition->reason = "NodeDrained";
  w.record().transition->from_run_id = "run-1";
  w.record().transition->from_container_id = "containerd://c1";
  return w;
}

TEST(Planned, WhenItBegins) {
  const Lines both{"fence 001", "promote 002 after 001"};
  Check({
      {"the primary's pod is being deleted", 3, [](World& w) { w.pod(1).deleting = true; }, both,
       Switching("PrimaryDeleted")},
      {"its node is drained", 3, [](World& w) { w.node(1).draining = true; }, both,
       Switching("NodeDrained")},
      {"its disk takes no writes, so it refuses them", 3,
       [](World& w) { w.facts(1).disk_failed = true; }, both, Switching("DiskFailed")},
      {"not to a member whose disk is full, too", 3,
       [](World& w) { w.facts(1).disk_failed = w.facts(2).disk_failed = true; },
       {"fence 001", "promote 003 after 001"},
       "e4 primary=003 guard=on inSync=002,003 members=001,002,003 suspects=001 "
       "lineage=history-1 transition=001>003:DiskFailed switching"},
      {"a full disk does not move the role without automatic failover", 3,
       [](World& w) {
         w.facts(1).disk_failed = true;
         w.spec().automatic_failover_enabled = false;
       },
       {}},
      {"the wished member's disk is full: it is waited for", 3,
       [](World& w) {
         w.spec().primary_cluster_id = NameOf(2);
         w.facts(2).disk_failed = true;
       },
       {}},
      {"not to a member whose node is drained, too", 3,
       [](World& w) { w.node(1).draining = w.node(2).draining = true; },
       {"fence 001", "promote 003 after 001"},
       "e4 primary=003 guard=on inSync=002,003 members=001,002,003 suspects=001 "
       "lineage=history-1 transition=001>003:NodeDrained switching"},
      {"the spec names another member", 3,
       [](World& w) { w.spec().primary_cluster_id = NameOf(2); }, both,
       Switching("PrimaryRequested")},
      {"the spec's wish holds without automatic failover", 3,
       [](World& w) {
         w.spec().primary_cluster_id = NameOf(2);
         w.spec().automatic_failover_enabled = false;
       },
       both, Switching("PrimaryRequested")},
      {"a drain does not move the role without automatic failover", 3,
       [](World& w) {
         w.node(1).draining = true;
         w.spec().automatic_failover_enabled = false;
       },
       {}},
      {"the spec names the primary: nothing", 3,
       [](World& w) { w.spec().primary_cluster_id = NameOf(1); }, {}},
      {"the wished member is not close: it is waited for", 3,
       [](World& w) {
         w.spec().primary_cluster_id = NameOf(2);
         w.facts(1).offset = 20 << 20;
       },
       {}},
      {"every node is drained: nowhere to go", 3,
       [](World& w) {
         for (int i = 1; i <= 3; ++i) w.node(i).draining = true;
       },
       {}},
      {"a member that lost the role a moment ago gets it back after the pause", 3,
       [](World& w) {
         w.spec().primary_cluster_id = NameOf(2);
         w.record().last_failover = model::LastFailover{};
         w.record().last_failover->recovered = true;
         w.record().last_failover->streak = 1;
         w.record().last_failover->automatic_wall_ms = kWallNow - 4000;
       },
       {}},
      {"an endpoint that was written a moment ago: kube-proxy would wait, so the role waits", 3,
       [](World& w) {
         w.node(1).draining = true;
         w.seen.memory.proxies_synced_at = kNow - 600;
       },
       {}},
      {"it was written twice within a second: kube-proxy has still to follow the second", 3,
       [](World& w) {
         w.node(1).draining = true;
         w.seen.memory.proxies_synced_at = ProxySyncAfter(kNow - 2100, kNow - 1300);
       },
       {}},
      {"kube-proxy has been idle for a second", 3,
       [](World& w) {
         w.node(1).draining = true;
         w.seen.memory.proxies_synced_at = kNow - 1200;
       },
       both, Switching("NodeDrained")},
      {"a switchover that went back is not tried again at once", 3,
       [](World& w) {
         w.node(1).draining = true;
         w.seen.memory.switch_given_up_at = kNow - 3000;
       },
       {}},
  });
}

TEST(Planned, AKubeProxyWaitsASecondBetweenTwoSyncs) {
  EXPECT_EQ(ProxySyncAfter(0, 5000), 5000) << "the first one";
  EXPECT_EQ(ProxySyncAfter(3900, 5000), 5000) << "it was idle";
  EXPECT_EQ(ProxySyncAfter(4500, 5000), 5500) << "it synced half a second before";
  EXPECT_EQ(ProxySyncAfter(5500, 5200), 5500) << "the sync to come takes this write, too";
  EXPECT_EQ(ProxySyncAfter(5500, 5600), 6500) << "it has just done that sync";
}

TEST(Planned, AWishThatCannotBeMetIsTold) {
  World world;
  world.spec().primary_cluster_id = NameOf(7);
  const model::Plan plan = world.Make();
  EXPECT_EQ(ConditionOf(plan, "Ready"),
            "False PrimaryNotAsRequested: spec.primaryClusterID names web-cache-007, but "
            "web-cache-007 does not exist; name one of the members, or remove the field.");
  EXPECT_EQ(ConditionOf(plan, "Available").substr(0, 4), "True");
}

TEST(Planned, HandOver) {
  const std::string back =
      "e4 primary=002 guard=on inSync=002,003 members=001,002,003 suspects=001 lineage=history-1 "
      "transition=001>002:NodeDrained returning";
  Check({
      {"a leader died before the fence: both again, in one round", 3,
       [](World& w) { Handing(w); }, {"fence 001", "promote 002 after 001"}},
      {"a leader died after the fence: the new one has read it all and is told", 3,
       [](World& w) { Handing(w).Fence(1); }, {"promote 002"}},
      {"it has not read it all yet", 3,
       [](World& w) { Handing(w).Fence(1).Ack(1, kNow - 20, 140); }, {}},
      {"it has not read it in time: back", 3,
       [](World& w) { Handing(w).Fence(1).Ack(1, kNow - 1200, 140); }, {}, back},
      {"the new one restarted before it was told: back", 3,
       [](World& w) { Handing(w).Restart(2); }, {}, back},
      {"the new one is silent: back", 3, [](World& w) { Handing(w).Lose(2, 1500); }, {}, back},
      {"the old one is silent: back", 3, [](World& w) { Handing(w).Lose(1, 1500); }, {}, back},
      {"the old one died: the new one is told", 3, [](World& w) { Handing(w).Die(1); },
       {"promote 002"}},
      {"the new one takes writes: the endpoint follows", 3,
       [](World& w) { Handing(w).Fence(1).Ack(1, kNow - 20, 100).AsPrimary(2); },
       {"primary-slice e4 rv=31 [002/10.0.0.2/zone-b]"}},
  });
}

TEST(Planned, GoingBack) {
  Check({
      {"the new one is fenced first, for an older leader may have told it", 3,
       [](World& w) { Handing(w, Stage::kReturning); }, {"fence 002"}},
      {"it is silent and not proven dead: wait", 3,
       [](World& w) { Handing(w, Stage::kReturning).Lose(2, 1500); }, {}},
      {"it is fenced, the old one was fenced: the old one is granted again", 3,
       [](World& w) { Handing(w, Stage::kReturning).Fence(2).Ack(2, kNow - 5).Fence(1); },
       {"promote 001", "event SwitchoverAborted"},
       "e5 primary=001 guard=off inSync=003 members=001,002,003 suspects=002 lineage=history-1 "
       "transition=001>001:SwitchoverAborted"},
      {"it is dead, the old one never heard of it: only the record goes back", 3,
       [](World& w) { Handing(w, Stage::kReturning).Die(2); }, {"event SwitchoverAborted"},
       "e5 primary=001 guard=on inSync=003 members=001,002,003 suspects= lineage=history-1"},
  });
}

TEST(Planned, NothingIsLostAndTheCoolDownDoesNotCountIt) {
  World world;
  Handing(world).Fence(1).Ack(1, kNow - 20, 100).AsPrimary(2);
  world.facts(2).repl_id = "history-2";
  world.facts(2).repl_id2 = "history-1";
  world.facts(2).second_repl_offset = 101;
  world.seen.primary_slice.epoch = 4;
  world.seen.primary_slice.endpoints = {{world.at(2).uid, NameOf(2), world.pod(2).ip,
                                         world.pod(2).node, world.pod(2).zone}};
  const model::Plan plan = world.Make();
  ASSERT_TRUE(plan.record && plan.record->last_failover);
  EXPECT_TRUE(plan.record->last_failover->planned);
  EXPECT_EQ(plan.record->last_failover->lost_bytes_max, 0);
  EXPECT_EQ(plan.record->last_failover->streak, 0);
  EXPECT_FALSE(plan.record->write_guard);
  EXPECT_TRUE(plan.record->in_sync.empty());
}

// ------------------------------------------------------------------ kill-not-wait

void Hangs(World& w, std::int64_t quiet_ms = 5200) {
  w.Hang(1, quiet_ms);
  w.Still(2, 5100).Still(3, 5100);
}

TEST(KillNotWait, Rows) {
  const std::string kill = "delete 001 uid=uid-001 rv=11 grace=1 heir=uid-002";
  Check({
      {"hung on a Ready node: its pod is ended while the guard's time begins", 3,
       [](World& w) { Hangs(w); }, {kill, "detach 002", "detach 003"}, "-"},
      {"slow, but not for long enough", 3, [](World& w) { Hangs(w, 4000); }, {}, "-"},
      {"it was cut off before and stands still only since: perhaps a script", 3,
       [](World& w) { Hangs(w); w.engine(1).reach_was = model::Reach::kUnreachable;
         w.engine(1).reach_since = kNow - 1500; },
       {"detach 002", "detach 003"}, "-"},
      {"it was cut off before, and has stood still for long enough since", 3,
       [](World& w) { Hangs(w, 9000); w.engine(1).reach_was = model::Reach::kUnreachable;
         w.engine(1).reach_since = kNow - 5000; },
       {kill, "detach 002", "detach 003"}, "-"},
      {"without a ready candidate nothing is ended", 3,
       [](World& w) { Hangs(w); w.record().in_sync.clear(); }, {"detach 002", "detach 003"}, "-"},
      {"on a node that is lost nobody would do it", 3,
       [](World& w) { Hangs(w); w.node(1).ready = false; }, {"detach 002", "detach 003"}, "-"},
      {"asked a moment ago", 3,
       [](World& w) { Hangs(w); w.seen.memory.shut_at["uid-001"] = kNow - 1000; },
       {"detach 002", "detach 003"}, "-"},
      {"busy in a script, and being deleted: it is told to end", 3,
       [](World& w) {
         w.Hang(1, 1500);
         w.engine(1).busy = true;
         w.pod(1).deleting = true;
       },
       {"shutdown 001"}, "-"},
      {"busy in a script: no failure", 3,
       [](World& w) { w.Hang(1, 1500); w.engine(1).busy = true; }, {}, "-"},
  });
}

// The guard is off, so waiting proves nothing.
void Unguarded(World& w, std::int64_t quiet_ms) {
  w.record().write_guard = false;
  w.facts(1).guard_on = false;
  w.Lose(1, quiet_ms).Still(2, quiet_ms).Still(3, quiet_ms);
  w.Fence(2).Ack(2, kNow - 20).Fence(3).Ack(3, kNow - 20);
}

TEST(KillNotWait, WithoutProof) {
  Check({
      {"59 s without proof: wait", 3,
       [](World& w) { Unguarded(w, 59'000); w.node(1).ready = false; }, {}, "-"},
      {"61 s, and the API has lost the node: a replica takes over, the old one stays a suspect", 3,
       [](World& w) { Unguarded(w, 61'000); w.node(1).ready = false; },
       {"promote 002", "event PromotedWithoutProof"},
       "e4 primary=002 guard=off inSync= members=001,002,003 suspects=001 lineage=history-1@100 "
       "transition=001>002:PrimaryUnreachable"},
      {"61 s, but the node is Ready: wait", 3, [](World& w) { Unguarded(w, 61'000); }, {}, "-"},
      {"never, by policy", 3,
       [](World& w) {
         Unguarded(w, 900'000);
         w.node(1).ready = false;
         w.spec().failover.unproven_after_seconds = 0;
       },
       {}, "-"},
  });
}

// ------------------------------------------------------------------ cool-down

void JustFailedOver(World& w, std::int64_t ago_ms, int streak) {
  model::LastFailover last;
  last.recovered = true;
  last.streak = streak;
  last.automatic_wall_ms = kWallNow - ago_ms;
  w.record().last_failover = last;
}

TEST(CoolDown, Rows) {
  const Lines detach{"detach 002", "detach 003"};
  const auto lost = [](World& w) {
    w.Lose(1, 2000).Still(2, 1600).Still(3, 1600);
  };
  Check({
      {"9 s after the last one: wait", 3,
       [&](World& w) { lost(w); JustFailedOver(w, 9'000, 1); }, {}, "-"},
      {"11 s after it: go on", 3, [&](World& w) { lost(w); JustFailedOver(w, 11'000, 1); },
       detach, "-"},
      {"the third in a row waits 40 s", 3,
       [&](World& w) { lost(w); JustFailedOver(w, 39'000, 3); }, {}, "-"},
      {"a proven death never waits", 3,
       [](World& w) { w.Die(1); JustFailedOver(w, 500, 4); }, {"promote 002"}, ""},
      {"off by the spec", 3,
       [&](World& w) {
         lost(w);
         JustFailedOver(w, 500, 4);
         w.spec().failover.cool_down_seconds = 0;
       },
       detach, "-"},
  });
}

TEST(CoolDown, TheNextPauseIsLongerWhenSilencesFollowClosely) {
  struct Case {
    const char* reason;
    std::int64_t after_ms;
    int streak;
  };
  for (const Case& row : {Case{"PrimaryUnreachable", 15'000, 3},
                          Case{"PrimaryUnreachable", 50'000, 1},
                          Case{"PrimaryProcessDied", 15'000, 2}}) {
    SCOPED_TRACE(std::string(row.reason) + " after ms: " + std::to_string(row.after_ms));
    World world;
    JustFailedOver(world, row.after_ms, 2);
    world.InTransition(1, 2).AsPrimary(2);
    world.record().transition->reason = row.reason;
    world.seen.primary_slice.epoch = 4;
    world.seen.primary_slice.endpoints = {{world.at(2).uid, NameOf(2), world.pod(2).ip,
                                           world.pod(2).node, world.pod(2).zone}};
    const model::Plan plan = world.Make();
    ASSERT_TRUE(plan.record && plan.record->last_failover);
    EXPECT_EQ(plan.record->last_failover->streak, row.streak);
    EXPECT_EQ(plan.record->last_failover->automatic_wall_ms, kWallNow);
  }
}

// ------------------------------------------------------------------ TestFailover

void Asked(World& w, const std::string& id = "drill-1") { w.seen.group.meta.test_failover_id = id; }

TEST(TestFailover, EndsThePrimaryOnceAndKeepsTheRequest) {
  World world;
  Asked(world);
  const model::Plan plan = world.Make();
  EXPECT_EQ(Joined(EffectsOf(plan)), "event TestFailover; shutdown 001");
  ASSERT_TRUE(plan.record && plan.record->test_failover);
  EXPECT_EQ(plan.record->test_failover->state, "running");
  EXPECT_EQ(plan.record->test_failovers.size(), 1U);
  world.record() = *plan.record;
  world.Die(1);
  const model::Plan next = world.Make();
  ASSERT_TRUE(next.record && next.record->transition);
  EXPECT_EQ(next.record->transition->reason, "TestFailover");
}

TEST(TestFailover, TheSameRequestIsNotMadeTwice) {
  World world;
  Asked(world);
  world.record().test_failover = model::TestFailover{};
  world.record().test_failover->id = "drill-1";
  world.record().test_failover->state = "completed";
  EXPECT_EQ(Joined(EffectsOf(world)), "");
}

TEST(TestFailover, IsRefusedWithWhatToDo) {
  struct Case {
    const char* name;
    std::function<void(World&)> given;
    std::string begins;
  };
  for (const Case& row : std::vector<Case>{
           {"automatic failover is off",
            [](World& w) { w.spec().automatic_failover_enabled = false; },
            "TestFailoverNotAvailable: spec.automaticFailoverEnabled"},
           {"nobody is in sync", [](World& w) { w.facts(1).replicas.clear(); },
            "TestFailoverNotAvailable: no replica is in sync"},
           {"the quota is used up",
            [](World& w) {
              w.spec().failover.test_failovers_per_day = 2;
              w.record().test_failovers = {kWallNow - 90'000'000, kWallNow - 5000, kWallNow - 9};
            },
            "APICallRateForCustomerExceeded: 2 tests"}}) {
    SCOPED_TRACE(row.name);
    World world;
    row.given(world);
    Asked(world);
    const model::Plan plan = world.Make();
    EXPECT_EQ(Joined(EffectsOf(plan)), "event TestFailoverRefused");
    ASSERT_TRUE(plan.record && plan.record->test_failover);
    EXPECT_EQ(plan.record->test_failover->message.substr(0, row.begins.size()), row.begins);
  }
}

TEST(Recovery, IsToldWhenEveryMemberIsInSyncAgain) {
  World world;
  world.record().last_failover = model::LastFailover{};
  world.record().last_failover->from_name = NameOf(3);
  const model::Plan plan = world.Make();
  EXPECT_EQ(Joined(EffectsOf(plan)), "event RecoveredNodes");
  ASSERT_TRUE(plan.record);
  EXPECT_TRUE(plan.record->last_failover->recovered);
}

}  // namespace
}  // namespace regroup::plan::testing
