// Rule no-record: bootstrap, adoption, several holders.
#include <gtest/gtest.h>

#include "tests/unit/plan/world.h"

namespace regroup::plan::testing {
namespace {

constexpr char kFirst[] =
    "e1 primary=001 guard=off inSync= members=001,002,003 suspects= lineage= "
    "transition=>001:FirstPrimary";

// Everybody but `chosen` has acknowledged a change before an adoption.
void Claimed(World& w, int chosen) {
  for (const int i : {1, 2, 3}) {
    if (i != chosen) w.seen.memory.changed[w.at(i).uid] = {w.facts(i).run_id, kNow - 500, 0, 0};
  }
}

// Nothing was ever said of its container, and it was never heard.
void NeverSaid(World& w, int index, std::int64_t age_ms) {
  w.engine(index) = model::EngineView{};
  w.pod(index).container_id.clear();
  w.pod(index).first_seen = kNow - age_ms;
}

TEST(NoRecord, Rows) {
  Check({
      {"all answer, all empty: the first one, with its CAS", 3, [](World& w) { w.Unrecorded(); },
       {"promote 001"}, kFirst},
      {"the preferred zone's member comes first", 3,
       [](World& w) { w.Unrecorded(); w.spec().preferred_cache_cluster_azs = {"zone-b"}; },
       {"promote 002"},
       "e1 primary=002 guard=off inSync= members=001,002,003 suspects= lineage= "
       "transition=>002:FirstPrimary"},
      {"one does not answer: wait", 3,
       [](World& w) { w.Unrecorded(); w.Lose(3, 50); }, {}, "-"},
      {"a deleted one that does not answer may still take writes: wait", 3,
       [](World& w) {
         w.Unrecorded();
         w.spec().replicas = 1;
         w.pod(3).deleting = true;
         w.Lose(3, 50);
       },
       {}, "-"},
      {"a deleted one whose process ended is not waited for", 3,
       [](World& w) {
         w.Unrecorded();
         w.spec().replicas = 1;
         w.pod(3).deleting = true;
         w.Fin(3, 50);
       },
       {"promote 001"}, kFirst},
      {"one is loading: wait", 3,
       [](World& w) { w.Unrecorded(); w.facts(3).loading = true; }, {}, "-"},
      {"one refuses our credentials: wait", 3,
       [](World& w) { w.Unrecorded(); w.engine(3).reach = model::Reach::kDenied; }, {}, "-"},
      {"a pod that no node takes holds nobody up after 20 s", 3,
       [](World& w) {
         w.Unrecorded();
         NeverSaid(w, 3, 20'001);
         w.pod(3).node.clear();
       },
       {"promote 001"}, kFirst},
      {"one that has not run yet on a node that is Ready: not after 20 s", 3,
       [](World& w) {
         w.Unrecorded();
         NeverSaid(w, 3, 59'000);
       },
       {}, "-"},
      {"but after a minute", 3,
       [](World& w) {
         w.Unrecorded();
         NeverSaid(w, 3, 60'001);
       },
       {"promote 001"}, kFirst},
      {"its node is not Ready, so nobody could say that it runs: wait", 3,
       [](World& w) {
         w.Unrecorded();
         NeverSaid(w, 3, 90'000);
         w.node(3).ready = false;
       },
       {}, "-"},
      {"with storage it does: its volume may hold the data", 3,
       [](World& w) {
         w.Unrecorded();
         w.spec().storage = model::Storage{"1Gi", ""};
         NeverSaid(w, 3, 90'000);
       },
       {}, "-"},
      {"missing members are created first", 3,
       [](World& w) { w.Unrecorded(); w.seen.members.pop_back(); }, {"create 003 zone-c"}, "-"},
      {"first everybody else is fenced: the record that is gone may have been in a promotion", 3,
       [](World& w) { w.Unrecorded(); w.AsPrimary(2); }, {"fence 001", "fence 003"}, "-"},
      {"what a member said before our last change may be what that change ended: ask again", 3,
       [](World& w) {
         w.Unrecorded();
         w.AsPrimary(2);
         Claimed(w, 2);
         w.engine(2).facts_at = kNow - 500;
       },
       {}, "-"},
      {"those that follow it are not taken from it", 3,
       [](World& w) { w.seen.primary_slice.epoch = 9; },
       {"set-config 002 maxmemory=100", "set-config 003 maxmemory=100"}, "-"},
      {"one writer is adopted", 3,
       [](World& w) { w.Unrecorded(); w.AsPrimary(2); Claimed(w, 2); },
       {"promote 002", "event Adopted"},
       "e1 primary=002 guard=off inSync= members=001,002,003 suspects=001,003 lineage=history-1 "
       "transition=>002:Adopted"},
      {"one fenced holder is adopted", 3,
       [](World& w) { w.Unrecorded(); w.facts(3).keys = 5; Claimed(w, 3); },
       {"promote 003", "event Adopted"},
       "e1 primary=003 guard=off inSync= members=001,002,003 suspects=001,002 lineage=own-3 "
       "transition=>003:Adopted"},
      {"a writer wins over holders that are fenced", 3,
       [](World& w) { w.Unrecorded(); w.AsPrimary(2); w.facts(3).keys = 5; Claimed(w, 2); },
       {"promote 002", "event Adopted"}, ""},
      {"two holders: nobody is touched", 3,
       [](World& w) { w.Unrecorded(); w.facts(1).keys = 5; w.facts(3).keys = 7; }, {}, "-"},
      {"two writers: nobody is touched", 3,
       [](World& w) { w.Unrecorded(); w.AsPrimary(1); w.AsPrimary(2); }, {}, "-"},
      {"adoption, too, waits for all to answer", 3,
       [](World& w) { w.Unrecorded(); w.AsPrimary(2); w.Lose(3, 50); }, {}, "-"},
      {"a record older than the slice: adopted above the slice's epoch", 3,
       [](World& w) { w.seen.primary_slice.epoch = 9; Claimed(w, 1); },
       {"promote 001", "event Adopted"},
       "e10 primary=001 guard=off inSync= members=001,002,003 suspects=002,003 lineage=history-1 "
       "transition=001>001:Adopted"},
      {"the store was set back: whom the younger record had made the primary is adopted", 3,
       [](World& w) {
         w.AsPrimary(2);
         w.facts(1).is_primary = false;
         w.facts(1).primary_host = "10.0.0.2";
         w.seen.group.forgotten_epoch = 6;
         Claimed(w, 2);
       },
       {"promote 002", "event Adopted"},
       "e7 primary=002 guard=off inSync= members=001,002,003 suspects=001,003 lineage=history-1 "
       "transition=001>002:Adopted"},
      {"no record, and the primary's slice is gone: above the reader's", 3,
       [](World& w) { w.Unrecorded(); w.seen.reader_slice.exists = true;
         w.seen.reader_slice.epoch = 7; Claimed(w, 1); },
       {"promote 001"},
       "e8 primary=001 guard=off inSync= members=001,002,003 suspects= lineage= "
       "transition=>001:FirstPrimary"},
      {"a record older than the slice, somebody silent: wait", 3,
       [](World& w) { w.seen.primary_slice.epoch = 9; w.Lose(2, 50); }, {}, "-"},
      {"an unrecorded group is made from nothing, over the zones", 3,
       [](World& w) { w.Unrecorded(); w.seen.members.clear(); },
       {"create 001 zone-a", "create 002 zone-b", "create 003 zone-c"}, "-"},
  });
}

TEST(NoRecord, SeveralHoldersAreNamed) {
  World world;
  world.Unrecorded();
  world.facts(1).keys = 5;
  world.facts(3).keys = 7;
  const std::string said = ConditionOf(world.Make(), "Stalled");
  EXPECT_NE(said.find("True SeveralHolders"), std::string::npos) << said;
  EXPECT_NE(said.find("web-cache-001 (5 keys), web-cache-003 (7 keys)"), std::string::npos) << said;
}

TEST(NoRecord, WaitingNamesTheMember) {
  World world;
  world.Unrecorded();
  world.Lose(2, 50);
  EXPECT_EQ(ConditionOf(world.Make(), "Available"),
            "False Creating: Waiting for web-cache-002 to answer.");
}

TEST(NoRecord, TheFirstPrimaryIsRecordedByItsProcess) {
  World world;
  world.Unrecorded();
  const model::Plan plan = world.Make();
  ASSERT_TRUE(plan.record);
  EXPECT_EQ(plan.record->primary->run_id, "run-1");
  EXPECT_EQ(plan.record->primary->container_id, "") << "not before it is surely its own";
  EXPECT_EQ(plan.record->primary->address, "10.0.0.1");
  EXPECT_EQ(plan.record->transition->stage, model::Stage::kPromoting);
}

// A watch that fell silent lacks members, and shows others as they were.
TEST(NoRecord, AListShowsWhoIsThereUnlessTheGroupIsNew) {
  World fresh;
  fresh.Unrecorded();
  EXPECT_FALSE(fresh.Make().confirm_all);

  World lost;
  lost.Unrecorded();
  lost.seen.primary_slice.epoch = 3;
  for (int i = 1; i <= 3; ++i) {
    lost.seen.memory.changed["uid-00" + std::to_string(i)].run_id = lost.facts(i).run_id;
  }
  ASSERT_TRUE(lost.Make().record) << Joined(EffectsOf(lost));
  EXPECT_TRUE(lost.Make().confirm_all);

  World unplaced(4);
  unplaced.Unrecorded();
  NeverSaid(unplaced, 4, 30'000);
  unplaced.pod(4).node.clear();
  ASSERT_TRUE(unplaced.Make().record) << Joined(EffectsOf(unplaced));
  EXPECT_TRUE(unplaced.Make().confirm_all);
}

}  // namespace
}  // namespace regroup::plan::testing
