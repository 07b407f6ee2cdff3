// No record, or an older one than the engines show (rule no-record): bootstrap, adopt, or say who
// holds what and let a human choose.
#include <algorithm>

#include "operator/plan/candidate.h"
#include "operator/plan/failover.h"
#include "operator/plan/fault_kind.h"

namespace regroup::plan {

using model::Member;

namespace {

constexpr std::int64_t kUnscheduledMs = 20'000;
constexpr std::int64_t kNeverRanMs = 60'000;  // longer than a node stays Ready without its kubelet

// A pod that never ran and has no volume cannot hold data; it does not hold up the others forever.
// That nothing was ever said of its container proves it only where its kubelet would have said so.
bool NeverRan(const Context& context, const Member& member) {
  if (!member.pod || context.spec().storage || !member.pod->container_id.empty() ||
      member.pod->restart_count > 0 || !member.pod->terminated_container_id.empty()) {
    return false;
  }
  const std::int64_t age_ms = context.seen.now - member.pod->first_seen;
  if (member.pod->node.empty()) return age_ms > kUnscheduledMs;
  return age_ms > kNeverRanMs && NodeIsReady(context.seen, member);
}

// A deleted member, too, may take writes until its process is proven to have ended.
bool MayHold(const Context& context, const Member& member) {
  return !Deleting(member) || !NobodyRuns(context.seen, member);
}

// When this leadership last changed one of them.
MonoMs LastChange(const Context& context) {
  MonoMs last = -1;
  for (const Member& member : context.seen.members) {
    const auto change = context.seen.memory.changed.find(member.uid);
    if (change == context.seen.memory.changed.end()) continue;
    if (change->second.run_id == RunOf(member)) last = std::max(last, change->second.at);
  }
  return last;
}

struct Survey {
  int answering = 0;
  std::string waiting_for;
  const Member* writer = nullptr;
  const Member* holder = nullptr;
  int writers = 0;
  int holders = 0;
  std::string names;  // of those that write or hold
  bool never_ran = false;  // one of them is not waited for
};

Survey Look(const Context& context) {
  Survey survey;
  const MonoMs last_change = LastChange(context);
  for (const Member& member : context.seen.members) {
    if (!Answers(member)) {
      if (NeverRan(context, member)) survey.never_ran = true;
      else if (MayHold(context, member)) survey.waiting_for = member.name;
      continue;
    }
    ++survey.answering;
    const model::EngineFacts& facts = *member.engine.facts;
    if (facts.loading) survey.waiting_for = member.name;
    // What it said before the last change may be what that change ended.
    if (member.engine.facts_at <= last_change) survey.waiting_for = member.name;
    if (facts.is_primary) {
      ++survey.writers;
      survey.writer = &member;
    }
    if (facts.keys > 0) {
      ++survey.holders;
      survey.holder = &member;
    }
    if (facts.is_primary || facts.keys > 0) {
      survey.names += (survey.names.empty() ? "" : ", ") + member.name + " (" +
                      std::to_string(facts.keys) + " keys)";
    }
  }
  return survey;
}

// A record that was lost may have been another leader's in the middle of a promotion. Each change
// of an engine cuts other operators' connections off, so what it decided comes too late: a fence,
// or, of one that follows the chosen member, a setting that it has already. True while one is
// missing.
bool ClaimOthers(Context& context, const Member& chosen) {
  bool waits = false;
  for (const Member& member : context.seen.members) {
    if (member.uid == chosen.uid || !Answers(member)) continue;
    if (OwnChange(context.seen.memory.changed, member) != nullptr) continue;
    const auto& settings = context.seen.live_parameters;
    const bool mild = chosen.pod && LinkedTo(chosen, member) && !settings.empty();
    model::EngineEffect claim =
        ChangeOf(member, mild ? model::EngineChange::kSetConfig : model::EngineChange::kFence,
                 "the record was lost");
    if (mild) claim.config = {*settings.begin()};
    context.Do(claim);
    waits = true;
  }
  if (waits) context.Watch(model::Attention::kUrgent);
  return waits;
}

// A record that begins with `chosen`.
void Begin(Context& context, const Member& chosen, const std::string& reason) {
  context.next.members.clear();
  for (const Member& member : context.seen.members) {
    if (member.pod) context.next.members.push_back(member.uid);
  }
  context.next.lineage.clear();
  context.next.suspects.clear();
  context.next.primary.reset();
  Grant(context, chosen, chosen.engine.facts->offset, reason);
  if (reason == "FirstPrimary") return;
  // What follows it holds the group's data, should it be lost before it is heard as the primary.
  context.next.lineage = {{chosen.engine.facts->repl_id, -1}};
  // Nobody knows who was the primary, so everybody else's clients may be a former primary's.
  for (const Member& member : context.seen.members) {
    if (member.uid == chosen.uid || !member.pod) continue;
    if (!Contains(context.next.suspects, member.uid)) context.next.suspects.push_back(member.uid);
  }
}

}  // namespace

void PlanBootstrap(Context& context) {
  context.Watch(model::Attention::kSuspect);
  context.LookAgain(100);
  if (!context.options.no_record) {
    if (const Member* any = FirstMember(context.seen, false)) Begin(context, *any, "FirstPrimary");
    return;
  }
  const Survey survey = Look(context);
  if (survey.answering == 0 || !survey.waiting_for.empty()) {
    context.Block("Creating", survey.waiting_for.empty()
                                  ? "Waiting for the members' pods."
                                  : "Waiting for " + survey.waiting_for + " to answer.");
    return;
  }
  if (survey.answering < context.spec().members() && context.seen.members.size() <
      static_cast<std::size_t>(context.spec().members())) {
    return;  // the rest are being created
  }
  if (survey.writers > 1 || (survey.writers == 0 && survey.holders > 1)) {
    context.Block("SeveralHolders",
                  "There is no record of this group's primary, and several members hold data: " +
                      survey.names + ". Delete the pods whose data you do not want to keep.",
                  true);
    return;
  }
  const Member* chosen = survey.writer != nullptr  ? survey.writer
                         : survey.holder != nullptr ? survey.holder
                                                    : FirstMember(context.seen, false);
  if (chosen == nullptr) return;
  const bool adopted = survey.writer != nullptr || survey.holder != nullptr;
  const bool had_record = adopted || context.newest_epoch() > 0;
  if (had_record && ClaimOthers(context, *chosen)) return;
  // A watch that has been silent for a while lacks members, and what became of the others.
  context.plan.confirm_all = had_record || survey.never_ran;
  Begin(context, *chosen, adopted ? "Adopted" : "FirstPrimary");
  if (adopted) {
    context.Do(model::EmitEvent{true, "Adopted", chosen->name +
                                " was found holding the data without a record, and was adopted."});
  }
}

}  // namespace regroup::plan
