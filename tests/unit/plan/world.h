// A small language for the planner's tests: a group whose members are in sync at one moment, words
// that break it, and plans as lines of text, so that a test reads like a row of a table.
// Thread: plain values of one test.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "operator/model/observed.h"
#include "operator/model/plan.h"
#include "operator/plan/planner.h"

namespace regroup::plan::testing {

using Lines = std::vector<std::string>;

inline constexpr MonoMs kNow = 1'000'000;
inline constexpr WallMs kWallNow = 1'764'000'000'000;

std::string NameOf(int index);       // "web-cache-001"
std::string Short(const std::string& name_or_uid);  // "001" of either

// Member 1 is the primary of epoch 3; the others follow it and are in sync; nothing is to be done.
class World {
 public:
  explicit World(int members = 3);

  model::Observed seen;
  model::PlanOptions options;

  model::GroupSpec& spec() { return seen.group.spec; }
  model::NodeGroupRecord& record() { return seen.group.record; }
  model::Member& at(int index);
  model::EngineFacts& facts(int index) { return *at(index).engine.facts; }
  model::EngineView& engine(int index) { return at(index).engine; }
  model::PodView& pod(int index) { return *at(index).pod; }
  model::NodeView& node(int index) { return seen.nodes.at(static_cast<std::size_t>(index) - 1); }

  // Proof (a) by FIN and refusal, and every replica's link down.
  World& Die(int index);
  World& Fin(int index, std::int64_t ago_ms);
  World& Ended(int index);
  // No TCP acknowledgement for that long.
  World& Lose(int index, std::int64_t quiet_ms);
  // TCP acknowledges, no reply for that long.
  World& Hang(int index, std::int64_t quiet_ms);
  // Another process answers at that pod, born fenced and empty.
  World& Restart(int index);
  World& Fence(int index);
  World& LinkDown(int index);
  // Its offset has stood still for that long, in a reply of now.
  World& Still(int index, std::int64_t ms);
  World& Ack(int index, MonoMs at, std::int64_t offset = 100);
  // The pod object is gone (its UID stays in the record).
  World& Vanish(int index);
  // A fresh pod that follows nobody yet; not in the record.
  World& AddFresh(int index);
  World& RemoveMember(int index);
  // Nothing was ever granted: no record, no slices, everybody born fenced and empty.
  World& Unrecorded();
  // A transition from `from` (0: none) to `to` whose CAS is made at epoch 4.
  World& InTransition(int from, int to);
  World& AsPrimary(int index);
  // A setting that this leadership has set on a process.
  void Applied(const std::string& run_id, const std::string& name, const std::string& value);

  model::Plan Make() const { return MakePlan(seen, options); }

 private:
  void Add(int index);
};

// One line an effect, in order: "fence 001", "follow 003 10.0.0.2:6379", "create 004 zone-a"…
Lines EffectsOf(const model::Plan& plan);
Lines EffectsOf(const World& world);
// The record that the plan wants stored, as one line; "-" where it stays as it is.
std::string RecordOf(const model::Plan& plan);
std::string RecordOf(const World& world);
// "True NodeReason: message" of one condition.
std::string ConditionOf(const model::Plan& plan, const std::string& type);
std::string Joined(const Lines& lines);

// A row of a table: what is given, and precisely what the plan then holds. The record is "-" where
// it must stay as it is, and "" where the row says nothing about it.
struct Row {
  const char* name;
  int members;
  std::function<void(World&)> given;
  Lines effects;
  std::string record = "-";
};
void Check(const std::vector<Row>& rows);

}  // namespace regroup::plan::testing
