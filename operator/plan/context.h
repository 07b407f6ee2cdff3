// What the parts of one planning pass share: what was seen, the record as this pass wants it, and
// the plan under construction. Internal to plan/.
// Thread: one pass, one thread. Lifetime: the Observed outlives the context.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "operator/model/observed.h"
#include "operator/model/plan.h"

namespace regroup::plan {

// At rest the fleet asks once a second: a process that was not heard for so long missed an answer.
inline constexpr std::int64_t kMissedAnswerMs = 1120;

struct Context {
  const model::Observed& seen;
  const model::PlanOptions& options;
  model::NodeGroupRecord next;  // starts as the stored record; a difference becomes the CAS
  model::Plan plan;
  std::string blocked;  // why the group cannot do its main job now, in words for a user
  std::string blocked_reason;
  std::string pending;  // what the spec asks for and cannot be had yet, while the group serves
  std::string pending_reason;
  bool stalled = false;  // needs a human
  bool unseen = false;   // whether the granted primary serves is not known
  bool hurry = false;    // the next step of a failover is milliseconds away: no pod is made now
  bool volume_awaited = false;  // only the recorded primary's own volume can bring the group back
  std::string leaving_uid;  // the member that a smaller group lets go of

  Context(const model::Observed& observed, const model::PlanOptions& plan_options)
      : seen(observed), options(plan_options), next(observed.group.record) {}

  const model::NodeGroupRecord& record() const { return seen.group.record; }
  const model::GroupSpec& spec() const { return seen.group.spec; }
  // Of the record, of both slices and of what was seen: a record may be lost, and a slice deleted.
  std::int64_t newest_epoch() const {
    return std::max({record().epoch, seen.primary_slice.epoch, seen.reader_slice.epoch,
                     seen.group.forgotten_epoch});
  }
  // A group that is to have no replicas cannot ask for it, and may still have one with the data.
  bool fails_over() const { return spec().automatic_failover_enabled || spec().replicas == 0; }
  bool record_changed() const { return !(next == seen.group.record); }
  bool idle() const { return plan.effects.empty() && !record_changed(); }

  // Nothing is granted to, and nothing follows, in the name of a pod that was there before.
  void Confirm(const model::Member& member) {
    if (member.name.empty() || !member.engine.facts || Confirmed(member)) return;
    plan.confirm.push_back(
        {member.name, member.uid, member.engine.facts->run_id, !member.pod});
  }
  bool Confirmed(const model::Member& member) const {
    const auto known = seen.memory.confirmed.find(member.uid);
    return known != seen.memory.confirmed.end() && member.engine.facts &&
           known->second == member.engine.facts->run_id;
  }
  void Say(std::string sentence) { plan.why.push_back(std::move(sentence)); }
  // What waits for a human is not covered by what only waits.
  void Block(std::string reason, std::string message, bool needs_human = false) {
    if (stalled && !needs_human) return;
    blocked_reason = std::move(reason);
    blocked = std::move(message);
    stalled = stalled || needs_human;
  }
  void Do(model::Effect effect) { plan.effects.push_back(std::move(effect)); }
  // Look again after `ms` at the latest; the earliest wish wins.
  void LookAgain(std::int64_t ms) {
    if (ms < 1) ms = 1;
    if (plan.requeue_ms < 0 || ms < plan.requeue_ms) plan.requeue_ms = ms;
  }
  void Watch(model::Attention attention) {
    if (attention > plan.attention) plan.attention = attention;
  }
};

// A member that answers now, with facts of the process that answers.
inline bool Answers(const model::Member& member) {
  return member.engine.reach == model::Reach::kAnswering && member.engine.facts.has_value();
}
// This leadership has not heard of it yet, and knows of nothing that speaks against it.
inline bool Unheard(const model::Member& member) {
  return member.engine.reach == model::Reach::kUnknown && !member.engine.facts && member.pod &&
         !member.pod->deleting;
}
inline const std::string& RunOf(const model::Member& member) {
  static const std::string kNone;
  return member.engine.facts ? member.engine.facts->run_id : kNone;
}
inline bool Deleting(const model::Member& member) { return !member.pod || member.pod->deleting; }
// The pod's object, or what was last seen of it once it is gone.
inline const model::PodView* LastPod(const model::Member& member) {
  if (member.pod) return &*member.pod;
  return member.departed ? &*member.departed : nullptr;
}
// Both by the last word that was heard; the replica answers.
inline bool LinkedTo(const model::Member& primary, const model::Member& replica) {
  const model::PodView* pod = LastPod(primary);
  const model::EngineFacts& facts = *replica.engine.facts;
  return pod != nullptr && !facts.is_primary && facts.link_up && facts.primary_host == pod->ip;
}
// nullptr: it is not bound yet, or its node is unknown.
inline const model::NodeView* NodeOf(const model::Observed& seen, const model::PodView* pod) {
  for (const model::NodeView& node : seen.nodes) {
    if (pod != nullptr && node.name == pod->node) return &node;
  }
  return nullptr;
}
inline bool NodeIsReady(const model::Observed& seen, const model::Member& member) {
  const model::NodeView* node = NodeOf(seen, LastPod(member));
  return node != nullptr && node->ready;
}
// Its append-only file takes no more, so as a primary it refuses writes.
inline bool DiskFailed(const model::Member& member) {
  return Answers(member) && member.engine.facts->disk_failed;
}
inline std::string ContainerOf(const model::Member& member) {
  const model::PodView* pod = LastPod(member);
  return pod == nullptr ? "" : pod->container_id;
}
// An engine change of the process that answers at that member now.
inline model::EngineEffect ChangeOf(const model::Member& member, model::EngineChange change,
                                    std::string reason) {
  model::EngineEffect effect;
  effect.uid = member.uid;
  effect.run_id = RunOf(member);
  effect.change = change;
  effect.reason = std::move(reason);
  return effect;
}
// What this leadership changed there. Void for another process, and once the connection that it was
// changed on is gone: another operator may have undone and done it since.
inline const model::Memory::Ack* OwnChange(
    const std::map<std::string, model::Memory::Ack>& changes, const model::Member& member) {
  const auto found = changes.find(member.uid);
  if (found == changes.end() || found->second.run_id != RunOf(member)) return nullptr;
  return found->second.token == member.engine.control_token ? &found->second : nullptr;
}
// A fence or detach that this leadership made; void, too, once a younger INFO shows that the member
// was told to follow again.
inline const model::Memory::Ack* AckOf(const model::Observed& seen, const model::Member& member) {
  const model::Memory::Ack* ack = OwnChange(seen.memory.fenced, member);
  if (ack == nullptr) return nullptr;
  return member.engine.facts_at > ack->at && !member.engine.facts->fenced() ? nullptr : ack;
}
inline bool Contains(const std::vector<std::string>& list, const std::string& value) {
  for (const std::string& item : list) {
    if (item == value) return true;
  }
  return false;
}
inline const model::MemberRef* RefIn(const std::vector<model::MemberRef>& list,
                                     const std::string& uid) {
  for (const model::MemberRef& ref : list) {
    if (ref.uid == uid) return &ref;
  }
  return nullptr;
}
// That very process.
inline bool IsIn(const std::vector<model::MemberRef>& list, const model::Member& member) {
  const model::MemberRef* ref = RefIn(list, member.uid);
  return ref != nullptr && ref->run_id == RunOf(member);
}
inline bool InSyncRecorded(const model::NodeGroupRecord& record, const model::Member& member) {
  return IsIn(record.in_sync, member);
}

}  // namespace regroup::plan
