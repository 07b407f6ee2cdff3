// Which members exist: names, zones, replacement, and removal (rule removal); and what people see.
#include "operator/plan/topology.h"

#include <gtest/gtest.h>

#include "tests/unit/plan/world.h"

namespace regroup::plan::testing {
namespace {

TEST(Creation, Rows) {
  Check({
      {"scale up: the next names, the zones filled evenly", 3,
       [](World& w) { w.spec().replicas = 4; }, {"create 004 zone-a", "create 005 zone-b"}, "-"},
      {"the lowest free name is used again, in the zone that lost a member", 3,
       [](World& w) {
         w.RemoveMember(2);
         w.facts(1).replicas.erase(w.facts(1).replicas.begin());
         w.seen.reader_slice.endpoints.erase(w.seen.reader_slice.endpoints.begin());
       },
       {"create 002 zone-b"}, "-"},
      {"a name is not used while its pod is still there", 3,
       [](World& w) {
         w.pod(2).deleting = true;
         w.record().in_sync.erase(w.record().in_sync.begin());
         w.seen.reader_slice.endpoints.erase(w.seen.reader_slice.endpoints.begin());
       },
       {"create 004 zone-b"}, "-"},
      {"with storage the name carries the data: it is waited for", 3,
       [](World& w) {
         w.spec().storage = model::Storage{"1Gi", ""};
         w.pod(2).deleting = true;
         w.record().in_sync.erase(w.record().in_sync.begin());
         w.seen.reader_slice.endpoints.erase(w.seen.reader_slice.endpoints.begin());
       },
       {}, "-"},
      {"a name that another owner holds is skipped", 3,
       [](World& w) { w.spec().replicas = 3; w.seen.taken_names = {"web-cache-004"}; },
       {"create 005 zone-a"}, "-"},
      {"nodes without zones", 1,
       [](World& w) {
         w.spec().replicas = 1;
         w.spec().automatic_failover_enabled = true;
         for (auto& node : w.seen.nodes) node.zone.clear();
       },
       {"create 002"}, "-"},
      {"no new pod in the round in which something else changes", 3,
       [](World& w) { w.spec().replicas = 4; w.seen.acl_hash = "acl-2"; },
       {"set-acl 001", "set-acl 002", "set-acl 003"}, "-"},
      {"while the primary is suspected, pods are still made", 3,
       [](World& w) { w.Lose(1, 1200); w.spec().replicas = 3; }, {"create 004 zone-a"}, "-"},
  });
}

// A group with volumes whose members 001, 002, 003 are at node-1, node-2, node-3 of zones a, b, c.
void WithVolumes(World& w) {
  w.spec().storage = model::Storage{"1Gi", ""};
  for (const std::string index : {"1", "2", "3"}) {
    model::VolumeView volume;
    volume.member_name = "web-cache-00" + index;
    volume.bound = true;
    volume.node = "node-" + index;
    w.seen.volumes.push_back(volume);
  }
}

void WithoutMember2(World& w) {
  WithVolumes(w);
  w.RemoveMember(2);
  w.facts(1).replicas.erase(w.facts(1).replicas.begin());
  w.seen.reader_slice.endpoints.erase(w.seen.reader_slice.endpoints.begin());
}

// A volume stays in its zone, so whoever mounts it goes there, or Kubernetes schedules it nowhere.
TEST(Creation, Volumes) {
  Check({
      {"a member goes to the zone of its volume, though another is emptier", 3,
       [](World& w) { WithoutMember2(w); w.seen.volumes[1].node = "node-3"; },
       {"create 002 zone-c"}, "-"},
      {"a volume that is not made yet is made where the member goes", 3,
       [](World& w) {
         WithoutMember2(w);
         w.seen.volumes[1].bound = false;
         w.seen.volumes[1].node.clear();
       },
       {"create 002 zone-b"}, "-"},
      {"the node that it was made for is gone: the scheduler knows where it can be", 3,
       [](World& w) { WithoutMember2(w); w.seen.volumes[1].node = "node-9"; }, {"create 002"}, "-"},
      {"its zone lost its nodes: a new member elsewhere", 3,
       [](World& w) { WithoutMember2(w); w.node(2).ready = false; }, {"create 004 zone-a"}, "-"},
      {"its zone lost its nodes just now: it is waited for", 3,
       [](World& w) {
         WithoutMember2(w);
         w.node(2).ready = false;
         w.seen.memory.node_lost_since["zone-b"] = w.seen.now - 1000;
       },
       {"create 002 zone-b"}, "-"},
      {"no node took it: a new member elsewhere", 3,
       [](World& w) { WithoutMember2(w); w.seen.memory.no_node_took = {"web-cache-002"}; },
       {"create 004 zone-b"}, "-"},
      {"the recorded primary's volume is waited for, wherever it is", 3,
       [](World& w) {
         WithVolumes(w);
         w.seen.members.clear();
         w.node(1).ready = false;
         w.seen.memory.no_node_took = {"web-cache-001"};
       },
       {"create 001 zone-a", "create 002 zone-b", "create 003 zone-c"}, "-"},
  });
}

struct ZoneRow {
  const char* name;
  std::function<void(World&)> given;
  Lines taken;
  std::string zone;
};

TEST(Zones, Rows) {
  const std::vector<ZoneRow> rows{
      {"the emptiest, then the first", [](World&) {}, {"zone-a"}, "zone-b"},
      {"none taken: the first", [](World&) {}, {}, "zone-a"},
      {"all the same: the first again", [](World&) {}, {"zone-a", "zone-b", "zone-c"}, "zone-a"},
      {"among equals the user's order",
       [](World& w) { w.spec().preferred_cache_cluster_azs = {"zone-c", "zone-b"}; }, {},
       "zone-c"},
      {"a repeated zone asks for more members there",
       [](World& w) { w.spec().preferred_cache_cluster_azs = {"zone-b", "zone-b", "zone-a"}; },
       {"zone-b"}, "zone-b"},
      {"but not with multi-AZ",
       [](World& w) {
         w.spec().preferred_cache_cluster_azs = {"zone-b", "zone-b", "zone-a"};
         w.spec().multi_az_enabled = true;
       },
       {"zone-b"}, "zone-a"},
      {"a cordoned node's zone takes nobody", [](World& w) { w.node(2).schedulable = false; },
       {"zone-a"}, "zone-c"},
      {"a zone just lost is waited for",
       [](World& w) { w.node(2).ready = false; w.seen.memory.node_lost_since["zone-b"] =
           kNow - 59'999; }, {"zone-a", "zone-c"}, "zone-b"},
      {"after zoneWaitSeconds elsewhere",
       [](World& w) { w.node(2).ready = false; w.seen.memory.node_lost_since["zone-b"] =
           kNow - 60'000; }, {"zone-a", "zone-c"}, "zone-a"},
      {"no node is open: any", [](World& w) { w.seen.nodes.clear(); }, {}, ""},
  };
  for (const ZoneRow& row : rows) {
    SCOPED_TRACE(std::string("row: ") + row.name);
    World world;
    row.given(world);
    EXPECT_EQ(ChooseZone(world.seen, row.taken), row.zone);
  }
}

// Member 3 is not in sync and does not answer.
void ReplicaOut(World& w) {
  w.engine(3).reach = model::Reach::kRefused;
  w.record().in_sync.pop_back();
  w.facts(1).replicas.pop_back();
  w.seen.reader_slice.endpoints.pop_back();
}

TEST(Replacement, Rows) {
  Check({
      {"a replica in CrashLoopBackOff is replaced, by UID and resourceVersion", 3,
       [](World& w) { ReplicaOut(w); w.pod(3).waiting_reason = "CrashLoopBackOff"; },
       {"delete 003 uid=uid-003 rv=13", "create 004 zone-c"}, "-"},
      {"another waiting reason is not a reason", 3,
       [](World& w) { ReplicaOut(w); w.pod(3).waiting_reason = "ImagePullBackOff"; }, {}, "-"},
      {"a primary in CrashLoopBackOff that answers is left alone", 3,
       [](World& w) { w.pod(1).waiting_reason = "CrashLoopBackOff"; }, {}, "-"},
      {"a pod that ended for good is replaced", 3,
       [](World& w) { ReplicaOut(w); w.pod(3).failed = true; },
       {"delete 003 uid=uid-003 rv=13", "create 004 zone-c"}, "-"},
      {"60 s without a node in its zone: it waits on", 3,
       [](World& w) {
         ReplicaOut(w);
         w.pod(3).scheduled = false;
         w.pod(3).unschedulable = true;
         w.pod(3).first_seen = kNow - 60'000;
       },
       {}, "-"},
      {"more than that: elsewhere", 3,
       [](World& w) {
         ReplicaOut(w);
         w.pod(3).scheduled = false;
         w.pod(3).unschedulable = true;
         w.pod(3).first_seen = kNow - 60'001;
         w.node(3).ready = false;
       },
       {"delete 003 uid=uid-003 rv=13", "create 004 zone-a"}, "-"},
  });
}

TEST(Removal, Rows) {
  const auto smaller = [](World& w) { w.spec().replicas = 1; };
  const auto out_of_sync = [&](World& w) {
    smaller(w);
    w.record().in_sync.pop_back();
    w.seen.reader_slice.endpoints.pop_back();
  };
  const auto detached = [&](World& w, std::int64_t primary_answered_ms_ago) {
    out_of_sync(w);
    w.Fence(3);
    w.facts(1).replicas.pop_back();
    w.engine(1).facts_at = w.engine(1).last_heard = kNow - primary_answered_ms_ago;
  };
  Check({
      {"first it leaves the in-sync list and the reader's slice", 3, smaller,
       {"reader-slice e3 rv=32 [002/10.0.0.2/zone-b]"},
       "e3 primary=001 guard=on inSync=002 members=001,002,003 suspects= lineage=history-1"},
      {"then it is detached", 3,
       out_of_sync,
       {"fence 003"}, "-"},
      {"then deleted", 3,
       [&](World& w) { detached(w, 2); },
       {"delete 003 uid=uid-003 rv=13"}, "-"},
      {"its offset counts for nothing where it began another history", 3,
       [&](World& w) {
         detached(w, 2);
         w.facts(3).repl_id = "own-3";
         w.facts(3).offset = w.facts(1).offset + 1000;
       },
       {"delete 003 uid=uid-003 rv=13"}, "-"},
      {"not while the primary is empty and it is not", 3,
       [&](World& w) {
         detached(w, 2);
         w.facts(3).repl_id = "own-3";
         w.facts(3).keys = 5;
         w.facts(1).keys = 0;
       },
       {}, "-"},
      {"not before the primary has answered since", 3,
       [&](World& w) { detached(w, 50); },
       {}, "-"},
      {"the least useful one goes: out of sync before in sync", 3,
       [&](World& w) {
         smaller(w);
         w.record().in_sync.erase(w.record().in_sync.begin());
         w.seen.reader_slice.endpoints.erase(w.seen.reader_slice.endpoints.begin());
         w.facts(1).replicas[0].online = false;
       },
       {"fence 002", "set-config 001 repl-timeout=10"}, "-"},
      {"one that does not answer goes first", 3,
       [&](World& w) { smaller(w); ReplicaOut(w); }, {"delete 003 uid=uid-003 rv=13"}, "-"},
      {"never the primary, though its name is the highest", 2,
       [](World& w) {
         w.spec().replicas = 0;
         w.spec().automatic_failover_enabled = false;
       },
       {"guard-off 001", "reader-slice e3 rv=32 [001/10.0.0.1/zone-a]"},
       "e3 primary=001 guard=off inSync= members=001,002 suspects= lineage=history-1"},
      {"not while the primary is suspected", 3,
       [&](World& w) { smaller(w); w.Lose(1, 1200); }, {}, "-"},
      {"not in a transition", 3,
       [&](World& w) {
         smaller(w);
         w.InTransition(1, 2);
         w.Die(1);
       },
       {"promote 002"}, "-"},
      {"not while another one is going already", 3,
       [&](World& w) {
         out_of_sync(w);
         w.pod(3).deleting = true;
       },
       {}, "-"},
  });
}

TEST(Removal, TheLastHolderIsNeverRemoved) {
  World world(2);
  world.spec().replicas = 0;
  world.spec().automatic_failover_enabled = false;
  world.Lose(1, 5000);
  world.Still(2, 5000);
  EXPECT_EQ(Joined(EffectsOf(world)), "detach 002")
      << "only the replica's data is within reach: it is to take over";
}

// A leader that stands still before it sends the order sends it no more.
TEST(Removal, ItsOrderAgesWithThePrimarysAnswer) {
  World world(3);
  world.spec().replicas = 1;
  world.record().in_sync.pop_back();
  world.seen.reader_slice.endpoints.pop_back();
  world.Fence(3);
  world.facts(1).replicas.pop_back();
  world.engine(1).facts_at = world.engine(1).last_heard = kNow - 2;
  const model::Plan plan = world.Make();
  ASSERT_EQ(plan.effects.size(), 1U);
  const auto* removal = std::get_if<model::DeleteMember>(&plan.effects[0]);
  ASSERT_NE(removal, nullptr);
  EXPECT_EQ(removal->not_after, kNow - 2 + 2000);
}

TEST(Status, AtRest) {
  World world;
  const model::Plan plan = world.Make();
  EXPECT_EQ(plan.view.status, "available");
  EXPECT_EQ(plan.view.observed_generation, 5);
  EXPECT_EQ(plan.view.primary_endpoint, "web-cache-primary.default.svc");
  EXPECT_EQ(plan.view.reader_endpoint, "web-cache-reader.default.svc");
  EXPECT_EQ(plan.view.replicas, 2);
  EXPECT_EQ(plan.view.engine_version_actual, "7.0.15");
  EXPECT_EQ(plan.view.selector, "regroup.dev/group=web-cache");
  EXPECT_EQ(ConditionOf(plan, "Ready"), "True AllMembersInSync: All 3 members serve.");
  EXPECT_EQ(ConditionOf(plan, "Available"),
            "True PrimaryServes: The primary endpoint takes writes.");
  EXPECT_EQ(ConditionOf(plan, "FailoverReady"),
            "True ReplicaInSync: A replica can take over at any moment.");
  EXPECT_EQ(ConditionOf(plan, "Reconciling").substr(0, 5), "False");
  EXPECT_EQ(ConditionOf(plan, "Stalled").substr(0, 5), "False");
}

struct MemberRow {
  const char* name;
  std::function<void(World&)> given;
  std::string state;  // of member 3: "status/role"
};

TEST(Status, OfAMember) {
  const std::vector<MemberRow> rows{
      {"in sync", [](World&) {}, "available/replica"},
      {"the primary", [](World& w) { std::swap(w.at(1).name, w.at(3).name); },
       "available/primary"},
      {"not running yet", [](World& w) { w.pod(3).running = false; }, "creating/"},
      {"not asked yet, but the primary hears it", [](World& w) { w.engine(3) = {}; },
       "available/replica"},
      {"never reached", [](World& w) { w.engine(3) = {}; w.facts(1).replicas.pop_back(); },
       "creating/"},
      {"silent", [](World& w) { w.Lose(3, 3000); }, "unreachable/"},
      {"syncing", [](World& w) { w.facts(1).replicas[1].online = false; }, "syncing/"},
      {"going away", [](World& w) { w.pod(3).deleting = true; }, "deleting/"},
  };
  for (const MemberRow& row : rows) {
    SCOPED_TRACE(std::string("row: ") + row.name);
    World world;
    row.given(world);
    for (const model::MemberStatus& member : world.Make().view.members) {
      if (member.name != NameOf(3)) continue;
      EXPECT_EQ(member.status + "/" + member.current_role, row.state);
    }
  }
}

TEST(Status, ATransitionTimeMovesOnlyWithItsStatus) {
  World world;
  world.seen.group.view = world.Make().view;
  world.seen.wall_now += 60'000;
  world.Lose(3, 3000);
  for (const model::Condition& condition : world.Make().view.conditions) {
    const bool moved = condition.type == "Ready" || condition.type == "Reconciling";
    EXPECT_EQ(condition.last_transition_wall_ms, kWallNow + (moved ? 60'000 : 0))
        << condition.type;
  }
}

TEST(Status, WithoutFailoverTheConditionSaysWhatToSet) {
  World world;
  world.spec().automatic_failover_enabled = false;
  EXPECT_EQ(ConditionOf(world.Make(), "FailoverReady"),
            "False AutomaticFailoverDisabled: spec.automaticFailoverEnabled is not true.");
}

}  // namespace
}  // namespace regroup::plan::testing
