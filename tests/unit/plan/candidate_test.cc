// Rule candidate: lineage, offset, zone, name; and each refusal.
#include "operator/plan/candidate.h"

#include <gtest/gtest.h>

#include "tests/unit/plan/world.h"

namespace regroup::plan::testing {
namespace {

struct ChoiceRow {
  const char* name;
  std::function<void(World&)> given;
  std::string chosen;   // "" : nobody
  std::string why_not;  // of the others
};

void CheckChoices(const std::vector<ChoiceRow>& rows) {
  for (const ChoiceRow& row : rows) {
    SCOPED_TRACE(std::string("row: ") + row.name);
    World world;
    world.Die(1);
    row.given(world);
    const Choice choice = ChooseCandidate(world.seen, world.options, "uid-001");
    EXPECT_EQ(choice.member == nullptr ? "" : Short(choice.member->name), row.chosen);
    EXPECT_EQ(choice.why_not, row.why_not);
  }
}

TEST(Candidate, Order) {
  CheckChoices({
      {"all equal: the lower name", [](World&) {}, "002", ""},
      {"the greater offset", [](World& w) { w.facts(3).offset = 101; }, "003", ""},
      {"the offset of our own fence counts, where the last INFO is older",
       [](World& w) { w.Ack(3, kNow - 10, 150); }, "003", ""},
      {"a fence's offset of another run does not",
       [](World& w) { w.Ack(3, kNow - 10, 150); w.seen.memory.fenced["uid-003"].run_id = "run-0"; },
       "002", ""},
      {"the newest lineage beats a greater offset",
       [](World& w) {
         w.record().lineage = {{"history-0", 500}, {"history-1", -1}};
         w.facts(2).repl_id = "history-0";
         w.facts(2).offset = 400;
       },
       "003", ""},
      {"at the same offset, the zone that keeps the spread",
       [](World& w) { w.AddFresh(4); w.pod(4).zone = "zone-b"; w.engine(4) = {}; }, "003",
       "web-cache-004 does not answer"},
      {"zones come after the offset",
       [](World& w) {
         w.AddFresh(4);
         w.pod(4).zone = "zone-b";
         w.engine(4) = {};
         w.facts(2).offset = 101;
       },
       "002", "web-cache-004 does not answer"},
  });
}

TEST(Candidate, Refusals) {
  CheckChoices({
      {"does not answer", [](World& w) { w.Lose(2, 300); }, "003", "web-cache-002 does not answer"},
      {"being deleted", [](World& w) { w.pod(2).deleting = true; }, "003",
       "web-cache-002 is being deleted"},
      {"pod object gone", [](World& w) { w.Vanish(2); }, "003", "web-cache-002 is being deleted"},
      {"loading", [](World& w) { w.facts(2).loading = true; }, "003",
       "web-cache-002 is loading its data"},
      {"syncing", [](World& w) { w.facts(2).sync_in_progress = true; }, "003",
       "web-cache-002 is in the middle of a full sync"},
      {"a writer", [](World& w) { w.facts(2).is_primary = true; }, "003",
       "web-cache-002 is a writer that was never granted"},
      {"not in sync", [](World& w) { w.record().in_sync.erase(w.record().in_sync.begin()); },
       "003", "web-cache-002 was not in sync"},
      {"in sync as another process", [](World& w) { w.record().in_sync[0].run_id = "run-0"; },
       "003", "web-cache-002 was not in sync"},
      {"another history", [](World& w) { w.facts(2).repl_id = "history-x"; }, "003",
       "web-cache-002 holds another history"},
      {"past the end of its history",
       [](World& w) {
         w.record().lineage = {{"history-0", 90}, {"history-1", -1}};
         w.facts(2).repl_id = "history-0";
       },
       "003", "web-cache-002 holds another history"},
      {"link broken 10,001 ms before the primary's last sign of life",
       [](World& w) {
         w.engine(2).link_down_since = w.engine(1).last_heard - 10'001;
       },
       "003", "web-cache-002 lost its link long before the primary went quiet"},
      {"link broken 10,000 ms before it",
       [](World& w) { w.engine(2).link_down_since = w.engine(1).last_heard - 10'000; }, "002", ""},
      {"nobody is left, and each reason is named",
       [](World& w) { w.Lose(2, 300); w.facts(3).loading = true; }, "",
       "web-cache-002 does not answer; web-cache-003 is loading its data"},
  });
}

TEST(Lineage, Rows) {
  struct LineageRow {
    const char* name;
    std::string repl_id;
    std::int64_t offset;
    bool in;
    bool newest;
  };
  model::NodeGroupRecord record;
  record.lineage = {{"old", 100}, {"mid", 200}, {"new", -1}};
  for (const LineageRow& row : std::vector<LineageRow>{
           {"the open end", "new", 900, true, true},
           {"at the end of a closed stretch", "mid", 200, true, false},
           {"past the end of a closed stretch", "mid", 201, false, false},
           {"an old stretch", "old", 1, true, false},
           {"unknown", "other", 1, false, false},
           {"empty", "", 1, false, false}}) {
    SCOPED_TRACE(std::string("row: ") + row.name);
    model::EngineFacts facts;
    facts.repl_id = row.repl_id;
    facts.offset = row.offset;
    bool newest = false;
    EXPECT_EQ(InLineage(record, facts, &newest), row.in);
    EXPECT_EQ(newest, row.newest);
  }
}

TEST(Holder, IsOfTheRecordedLineageAndNotTheOldPrimary) {
  World world;
  world.Die(1);
  world.record().in_sync.clear();
  world.facts(3).offset = 120;
  EXPECT_EQ(ChooseHolder(world.seen, "uid-001").member->uid, "uid-003");
  world.facts(3).repl_id = "other";
  EXPECT_EQ(ChooseHolder(world.seen, "uid-001").member->uid, "uid-002");
  world.facts(2).loading = true;
  EXPECT_EQ(ChooseHolder(world.seen, "uid-001").member, nullptr);
}

}  // namespace
}  // namespace regroup::plan::testing
