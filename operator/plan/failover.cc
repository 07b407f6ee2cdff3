#include "operator/plan/failover.h"

#include <algorithm>

#include "operator/plan/candidate.h"
#include "operator/plan/cool_down.h"
#include "operator/plan/endpoints.h"
#include "operator/plan/fault_kind.h"
#include "operator/plan/kill_not_wait.h"
#include "operator/plan/switchover.h"
#include "operator/plan/test_failover.h"

namespace regroup::plan {

using model::EngineChange;
using model::EngineEffect;
using model::Member;
using model::Observed;

namespace {

// Writes were accepted up to lag + 2 s after the last ACK; half a second is for our own timing.
constexpr std::int64_t kGuardMarginMs = 2500;
constexpr std::int64_t kCatchUpMs = 1000;  // how long a candidate may drain a fenced primary's tail
constexpr std::int64_t kFastMs = 10;

// When the link of a member of the record was proven cut; -1: it is not.
MonoMs DetachedAt(const Observed& seen, const Member& member) {
  if (Answers(member)) {
    const model::Memory::Ack* ack = AckOf(seen, member);
    return ack == nullptr ? -1 : ack->at;
  }
  if (!NobodyRuns(seen, member)) return -1;
  return std::max(member.engine.refused_at, member.engine.last_heard);
}

// Replicas of a dead primary are read out to the end before one is chosen.
bool StillReading(const Context& context, const std::string& primary_uid, MonoMs since) {
  for (const Member& member : context.seen.members) {
    if (member.uid == primary_uid || !Answers(member)) continue;
    if (!InSyncRecorded(context.record(), member) || member.engine.facts->fenced()) continue;
    if (member.engine.facts->link_up || member.engine.facts_at < since) return true;
  }
  return false;
}

void CloseLineage(Context& context, std::int64_t offset) {
  auto& lineage = context.next.lineage;
  if (!lineage.empty() && lineage.back().up_to < 0) lineage.back().up_to = offset;
}

bool ChangesAnEngine(const Context& context) {
  for (const model::Effect& effect : context.plan.effects) {
    if (std::holds_alternative<EngineEffect>(effect)) return true;
  }
  return false;
}

// True when a round is needed to fence or to detach.
bool DetachRound(Context& context, const Fault& fault, const std::string& reason) {
  const Observed& seen = context.seen;
  const std::string& old_uid = context.record().primary->uid;
  const bool dead = fault.kind == FaultKind::kDead || fault.kind == FaultKind::kRestarted;
  const Member* old_primary = seen.FindMember(old_uid);
  // The same process answers: its fence is the proof (b), and its replicas, which keep their links,
  // read its last writes meanwhile.
  const bool fence_only = !dead && old_primary != nullptr && Answers(*old_primary);
  for (const Member& member : seen.members) {
    if (!Answers(member) || member.engine.facts->loading) continue;
    if (fence_only && member.uid != old_uid) continue;
    const bool is_old = member.uid == old_uid;
    // When every link to a dead process is down already, no detaching is needed.
    if (!is_old && (dead || !Contains(context.record().members, member.uid))) continue;
    if (!is_old && !context.options.order) continue;
    if (is_old && fault.kind == FaultKind::kRestarted && member.engine.facts->fenced()) continue;
    if (AckOf(seen, member) == nullptr) {
      // A replica never took writes: its readers stay.
      context.Do(ChangeOf(member, is_old ? EngineChange::kFence : EngineChange::kDetach,
                        (is_old ? "the old primary: " : "from the old primary: ") + reason));
    }
  }
  return ChangesAnEngine(context);
}

bool DataCanReturn(const Context& context) { return context.spec().storage.has_value(); }

// Every member of the record answers, or its process is proven dead.
bool AllAccounted(const Context& context) {
  const Observed& seen = context.seen;
  for (const Member& member : seen.members) {
    if (!Contains(context.record().members, member.uid) || Answers(member)) continue;
    if (!NobodyRuns(seen, member)) return false;
  }
  return true;
}

// Whoever answers was read out after the primary's end was seen: what an older INFO shows empty may
// have been filled since then, by the very primary that ended.
bool ReadSinceTheEnd(const Context& context) {
  const model::Memory& memory = context.seen.memory;
  if (memory.ended_run != context.record().primary->run_id) return false;
  for (const Member& member : context.seen.members) {
    if (!Answers(member)) continue;
    const model::EngineFacts& facts = *member.engine.facts;
    if (member.engine.facts_at <= memory.ended_at) return false;
    if (facts.loading || facts.sync_in_progress) return false;
  }
  return true;
}

// Every member of the record is dead or restarted, and nobody holds the lineage.
bool NobodyHolds(const Context& context) {
  if (!ReadSinceTheEnd(context)) return false;
  for (const Member& member : context.seen.members) {
    if (!Answers(member)) continue;
    if (member.engine.facts->keys > 0) return false;
    if (!Contains(context.record().members, member.uid)) continue;
    if (InLineage(context.record(), *member.engine.facts)) return false;
  }
  return AllAccounted(context);
}

// The one member of the record that holds data while all others are accounted for. Only a granted
// primary feeds replicas, so its data is the group's, although its history was not recorded in time
// (the engine renames it when a first replica comes). None where there are several.
const Member* SingleHolder(const Context& context) {
  const Member* holder = nullptr;
  for (const Member& member : context.seen.members) {
    if (!Answers(member) || member.engine.facts->keys == 0) continue;
    const model::EngineFacts& facts = *member.engine.facts;
    if (holder != nullptr || Deleting(member) || facts.is_primary) return nullptr;
    if (facts.loading || facts.sync_in_progress) return nullptr;
    if (!Contains(context.record().members, member.uid)) return nullptr;
    holder = &member;
  }
  return holder != nullptr && AllAccounted(context) ? holder : nullptr;
}

// With storage: the pod that has the recorded primary's own volume, by its name.
const Member* OwnVolumeBack(const Context& context) {
  for (const Member& member : context.seen.members) {
    if (member.name != context.record().primary->name || !Answers(member)) continue;
    const model::EngineFacts& facts = *member.engine.facts;
    if (!Deleting(member) && facts.fenced() && !facts.loading) return &member;
  }
  return nullptr;
}

// "web-cache-002 holds 12 keys, …": answering members with data outside the recorded lineage.
std::string UnknownHolders(const Context& context) {
  std::string names;
  for (const Member& member : context.seen.members) {
    if (!Answers(member) || member.engine.facts->keys == 0) continue;
    if (InLineage(context.record(), *member.engine.facts)) continue;
    names += (names.empty() ? "" : ", ") + member.name + " holds " +
             std::to_string(member.engine.facts->keys) + " keys";
  }
  return names;
}

void BlockForUnknown(Context& context, const std::string& what, const std::string& holders) {
  context.Block("UnknownHistory", what + ", and " + holders +
                " of a history that is not recorded. To start empty, delete the pods that hold it.",
                true);
}

// With its own volume back it has the data, unless its file had not reached the disk: then a copy
// that another member holds is more than nothing, and nothing is not put in the place of data whose
// history nobody knows.
void GrantReturned(Context& context, const Member& back) {
  const bool empty = back.engine.facts->keys == 0;
  const Choice holder =
      empty ? ChooseHolder(context.seen, context.record().primary->uid) : Choice{};
  const Member* heir = holder.member;
  if (heir != nullptr && (heir == &back || heir->engine.facts->keys == 0)) heir = nullptr;
  if (heir == nullptr) {
    const std::string holders = empty ? UnknownHolders(context) : "";
    if (!holders.empty()) {
      BlockForUnknown(context, back.name + " came back on its own volume without data", holders);
      return;
    }
    if (empty && !ReadSinceTheEnd(context)) return;
    Grant(context, back, -1, "PrimaryReturned");
    return;
  }
  if (!context.fails_over()) {
    context.Block("PrimaryReturnedEmpty", back.name + " came back on its own volume without data, "
                  "and " + heir->name + " holds some. Set spec.automaticFailoverEnabled: "
                  "true to let it take over; to start empty, delete the pods of the others.", true);
    return;
  }
  Grant(context, *heir, holder.offset, "PrimaryReturnedEmpty");
  context.Do(model::EmitEvent{true, "DataLost",
                              back.name + " came back on its own volume without data; " +
                                  heir->name + " was not in sync, and takes over with "
                                  "what it holds."});
}

void NothingPromotable(Context& context, const Fault& fault, const std::string& why_not) {
  if (!context.options.nothing_promotable) {
    const Member* any = FirstMember(context.seen, true);
    if (any != nullptr) Grant(context, *any, 0, "NothingPromotable");
    return;
  }
  const std::string& name = context.record().primary->name;
  if (DataCanReturn(context)) {
    if (const Member* back = OwnVolumeBack(context)) {
      GrantReturned(context, *back);
      return;
    }
    context.volume_awaited = true;
    context.Block("WaitingForPrimary", "No replica can take over (" + why_not +
                  "); waiting for " + name + " to come back on its own volume.");
    return;
  }
  if (PrimaryEnded(context.seen) && !ReadSinceTheEnd(context)) {
    context.Block("NothingPromotable", "The primary " + name + " failed (" + fault.words +
                  ") and no replica can take over yet; its members are read out once more.");
    return;
  }
  // An older copy only when the primary's data cannot return (rule candidate).
  const bool may_return = fault.kind == FaultKind::kGone || fault.kind == FaultKind::kHung;
  const Choice holder = ChooseHolder(context.seen, context.record().primary->uid);
  if (holder.member != nullptr && !may_return) {
    Grant(context, *holder.member, holder.offset, "PrimaryLostReplicaBehind");
    context.Do(model::EmitEvent{true, "DataLost",
                                holder.member->name + " was not in sync when " + name +
                                    " was lost; writes that it had not received are gone."});
    return;
  }
  const Member* empty = FirstMember(context.seen, true);
  if (empty != nullptr && NobodyHolds(context)) {
    Grant(context, *empty, 0, "AllMembersLost");
    context.Do(model::EmitEvent{true, "DataLost",
                                "Every member of this memory-only group was lost; it starts "
                                "again empty with " + empty->name + "."});
    return;
  }
  const Member* single = may_return ? nullptr : SingleHolder(context);
  if (single != nullptr) {
    Grant(context, *single, single->engine.facts->offset, "SingleHolder");
    context.Do(model::EmitEvent{true, "DataLost",
                                single->name + " is the only member left with data and was not "
                                "in sync when " + name + " was lost; writes that it had not "
                                "received are gone."});
    return;
  }
  const std::string holders = may_return ? "" : UnknownHolders(context);
  if (!holders.empty()) {
    BlockForUnknown(context, "The primary " + name + " is lost", holders);
    return;
  }
  context.Block("NothingPromotable", "The primary " + name + " failed (" + fault.words +
                ") and no replica can take over" + (why_not.empty() ? "." : ": " + why_not + "."));
}

void ChooseAndGrant(Context& context, const Fault& fault, const std::string& reason) {
  const Observed& seen = context.seen;
  const std::string& old_uid = context.record().primary->uid;
  const Choice choice = ChooseCandidate(seen, context.options, old_uid);
  const Member* old_primary = seen.FindMember(old_uid);
  if (choice.member == nullptr) {
    if (old_primary != nullptr && fault.kind == FaultKind::kNotPrimary && !Deleting(*old_primary)) {
      Regrant(context, *old_primary, "PrimaryRestored");
      return;
    }
    NothingPromotable(context, fault, choice.why_not);
    return;
  }
  const model::Memory::Ack* ack = old_primary == nullptr ? nullptr : AckOf(seen, *old_primary);
  if (ack != nullptr && choice.offset < ack->offset && seen.now - ack->at < kCatchUpMs) {
    context.Say(choice.member->name + " reads the fenced primary's last writes");
    context.hurry = true;
    context.Watch(model::Attention::kUrgent);
    context.LookAgain(kFastMs);
    return;
  }
  Grant(context, *choice.member, choice.offset, reason);
}

}  // namespace

void Promote(Context& context, const std::string& uid, const std::string& run_id,
             const std::string& reason) {
  EngineEffect effect;
  effect.uid = uid;
  effect.run_id = run_id;
  effect.change = EngineChange::kPromote;
  effect.reason = reason;
  context.Do(effect);
  context.Watch(model::Attention::kUrgent);
  context.LookAgain(kFastMs);
}

Silence ProveSilence(const Observed& seen, const model::PlanOptions& options, const Fault& fault) {
  Silence silence;
  const model::NodeGroupRecord& record = seen.group.record;
  if (!options.proof || fault.kind == FaultKind::kDead || fault.kind == FaultKind::kRestarted) {
    silence.proven = true;
    return silence;
  }
  const Member* old_primary = seen.FindMember(record.primary->uid);
  if (old_primary != nullptr && AckOf(seen, *old_primary) != nullptr) {
    silence.proven = true;
    return silence;
  }
  const bool of_another =
      record.transition && record.transition->stage != model::Stage::kPromoting;
  if (!record.write_guard || of_another) {
    silence.missing = "the write guard was not on, so " + record.primary->name +
                      " may still take writes";
    return silence;
  }
  MonoMs last = 0;
  for (const std::string& uid : record.members) {
    if (uid == record.primary->uid) continue;
    const Member* member = seen.FindMember(uid);
    const MonoMs at = !options.order        ? old_primary->engine.last_heard
                      : member == nullptr ? -1
                                          : DetachedAt(seen, *member);
    if (at < 0) {
      silence.missing = (member == nullptr || member->name.empty() ? uid : member->name) +
                        " may still follow " + record.primary->name;
      return silence;
    }
    last = std::max(last, at);
  }
  // The lag that the engine may have been using, not what the spec says now.
  const int lag_seconds =
      std::max(record.guard_lag_seconds, seen.group.spec.failover.write_guard_lag_seconds);
  silence.ready_at = last + lag_seconds * 1000 +
                     kGuardMarginMs;
  silence.proven = seen.now >= silence.ready_at;
  return silence;
}

namespace {

// Addresses are used again: whoever has the one that the endpoint still names is where clients of
// the lost primary came to. Like it, it sheds them once the endpoint has moved.
void SuspectHeirs(Context& context, const std::string& granted_uid) {
  for (const model::SliceEndpoint& endpoint : context.seen.primary_slice.endpoints) {
    for (const Member& member : context.seen.members) {
      if (!member.pod || member.pod->ip != endpoint.address) continue;
      if (member.uid == granted_uid || Contains(context.next.suspects, member.uid)) continue;
      context.next.suspects.push_back(member.uid);
    }
  }
}

// From when it did not serve: a process that was quiet for so long before its end had hung, and was
// ended by us. One that ends by itself frees its memory first, and is quiet meanwhile.
MonoMs FailedAt(const model::EngineView& engine, const model::FailoverSpec& limits) {
  const bool hung = engine.fin_at - engine.last_heard >= HungAfterMs(limits);
  return hung ? engine.last_heard : std::max(engine.last_heard, engine.fin_at);
}

}  // namespace

void Grant(Context& context, const Member& member, std::int64_t offset,
           const std::string& reason) {
  model::NodeGroupRecord& next = context.next;
  const std::optional<model::PrimaryRef> old = context.record().primary;
  const Member* old_member = old ? context.seen.FindMember(old->uid) : nullptr;
  const model::Memory::Ack* ack =
      old_member == nullptr ? nullptr : AckOf(context.seen, *old_member);
  context.Confirm(member);
  CloseLineage(context, offset);
  next.epoch = context.newest_epoch() + 1;
  next.primary = model::PrimaryRef{member.uid, member.name, RunOf(member),
                                   "",  // when the kubelet's word on it is surely of this process
                                   member.pod ? member.pod->ip : "",
                                   member.pod ? member.pod->node : ""};
  next.write_guard = false;
  next.in_sync.clear();
  if (!Contains(next.members, member.uid)) next.members.push_back(member.uid);
  if (old && old->uid != member.uid && !Contains(next.suspects, old->uid) &&
      old_member != nullptr) {
    next.suspects.push_back(old->uid);
  }
  SuspectHeirs(context, member.uid);
  std::erase(next.suspects, member.uid);
  model::Transition transition;
  transition.id = next.node_group_id + "-" + std::to_string(next.epoch);
  transition.from_uid = old ? old->uid : "";
  transition.from_name = old ? old->name : "";
  transition.to_uid = member.uid;
  transition.to_name = member.name;
  transition.reason = reason;
  transition.stage = model::Stage::kPromoting;
  transition.started_wall_ms = context.seen.wall_now;
  if (old_member != nullptr && old_member->engine.last_heard > 0) {
    const MonoMs failed_at = FailedAt(old_member->engine, context.seen.group.spec.failover);
    transition.detect_ms = std::max<std::int64_t>(context.seen.now - failed_at, 0);
  }
  // Only a fence tells how far the old primary had come.
  if (ack != nullptr && offset >= 0) {
    transition.lost_bytes_max = std::max<std::int64_t>(ack->offset - offset, 0);
  }
  next.transition = transition;
  context.Say("grant epoch " + std::to_string(next.epoch) + " to " + member.name + ": " + reason);
  Promote(context, member.uid, RunOf(member), reason);
}

void Regrant(Context& context, const Member& member, const std::string& reason) {
  Grant(context, member, member.engine.facts->offset, reason);
}

namespace {

bool WithoutProof(Context& context, const Fault& fault, const Silence& silence);

std::string UnprovenWords(const Context& context, const Silence& silence) {
  return "A replica takes over from " + context.record().primary->name + " without proof that it "
         "is silent: " + silence.missing + ", and Kubernetes has lost the nodes. If it is still "
         "reachable for clients, both take writes.";
}

std::string NextId(const model::NodeGroupRecord& record) {
  return record.node_group_id + "-" + std::to_string(record.epoch + 1);
}

// Rule cool-down: a death that is proven never waits.
bool CoolingDown(Context& context, const Fault& fault) {
  if (fault.kind != FaultKind::kGone && fault.kind != FaultKind::kHung &&
      fault.kind != FaultKind::kVanished) {
    return false;
  }
  const std::int64_t left_ms = CoolDownLeftMs(context.seen, context.options);
  if (left_ms == 0) return false;
  context.Say("the next failover waits: the last one was a moment ago");
  context.Block("CoolingDown", "The primary " + context.record().primary->name + " failed (" +
                fault.words + ") soon after a failover; the next one waits, up to "
                "spec.failover.coolDownSeconds and twice as long each time.");
  context.LookAgain(left_ms);
  return true;
}

}  // namespace

void PlanFailover(Context& context, const Fault& fault, const std::string& reason) {
  context.Watch(model::Attention::kUrgent);
  context.LookAgain(kFastMs);
  const std::string& old_uid = context.record().primary->uid;
  const std::string& name = context.record().primary->name;
  const Member* old_primary = context.seen.FindMember(old_uid);
  const bool lone = context.record().members.size() <= 1;
  const bool may_return = fault.kind == FaultKind::kGone || fault.kind == FaultKind::kHung;
  const bool restore = !may_return && (DataCanReturn(context) || NobodyHolds(context));
  if (!context.fails_over() && !lone && !restore) {
    context.Block("AutomaticFailoverDisabled",
                  "The primary " + name + " failed (" + fault.words +
                      "); set spec.automaticFailoverEnabled: true to let a replica take over.");
    context.LookAgain(1000);
    return;
  }
  if (CoolingDown(context, fault)) return;
  context.plan.failover_id = NextId(context.record());
  if (fault.kind == FaultKind::kDead || fault.kind == FaultKind::kRestarted) {
    const MonoMs ended = old_primary == nullptr ? 0 : old_primary->engine.fin_at;
    if (StillReading(context, old_uid, ended)) return;
  }
  if (old_primary != nullptr) PlanKill(context, fault, *old_primary);
  if (DetachRound(context, fault, reason)) return;
  const Silence silence = ProveSilence(context.seen, context.options, fault);
  if (!silence.proven && !WithoutProof(context, fault, silence)) return;
  if (!context.fails_over() && !lone) {
    NothingPromotable(context, fault, "automatic failover is off");
  } else {
    ChooseAndGrant(context, fault, reason);
  }
  const bool granted = context.next.epoch > context.record().epoch;
  if (granted && !silence.proven) {
    context.Do(model::EmitEvent{true, "PromotedWithoutProof", UnprovenWords(context, silence)});
  }
}

namespace {

// Why silence is not proven yet; true once a replica may be promoted all the same.
bool WithoutProof(Context& context, const Fault& fault, const Silence& silence) {
  const std::string& name = context.record().primary->name;
  if (!silence.missing.empty()) {
    const Unproven unproven = MayPromoteUnproven(context.seen, context.options);
    if (unproven.allowed) {
      context.Say(UnprovenWords(context, silence));
      return true;
    }
    context.Block("PrimaryNotProvenSilent",
                  "The primary " + name + " does not answer (" + fault.words + "), but " +
                      silence.missing + "; no replica is promoted while that is open.");
    if (unproven.waits_ms > 0) context.LookAgain(unproven.waits_ms);
  }
  context.Say("wait for proof that " + name + " is silent: " +
              (silence.missing.empty() ? "the write guard takes hold" : silence.missing));
  context.LookAgain(silence.ready_at > 0 ? silence.ready_at - context.seen.now : 200);
  return false;
}

}  // namespace

// The new primary does not answer as the process that was granted: the next one only when it is
// proven dead.
void PlanLostGrant(Context& context) {
  const Fault fault = PrimaryFault(context.seen, context.options);
  if (fault.kind == FaultKind::kDead || fault.kind == FaultKind::kRestarted) {
    context.Say("the new primary failed: " + fault.words);
    PlanFailover(context, fault, "NewPrimaryDied");
    return;
  }
  context.Block("PrimaryNotProvenSilent", "The new primary " + context.record().primary->name +
                " does not answer (" + fault.words + "); it may have been told to take writes.");
}

namespace {

std::string LossWords(std::int64_t lost_bytes_max) {
  if (lost_bytes_max == 0) return "Nothing that was acknowledged is lost.";
  if (lost_bytes_max > 0) {
    return "Up to " + std::to_string(lost_bytes_max) + " bytes of its last writes are lost.";
  }
  return "What it acknowledged in its last instant may be lost, as replication is asynchronous.";
}

}  // namespace

namespace {

// What the new primary lacks, by the old one's own word once it is fenced; -1: nobody can tell.
std::int64_t LostBytes(const Context& context, const model::EngineFacts& head) {
  const model::Transition& done = *context.record().transition;
  const Member* from = context.seen.FindMember(done.from_uid);
  if (from == nullptr || !Answers(*from) || !from->engine.facts->fenced()) {
    return done.lost_bytes_max;
  }
  const model::EngineFacts& old = *from->engine.facts;
  const bool same_history = head.repl_id2 == old.repl_id && head.second_repl_offset > 0;
  if (!same_history) return done.lost_bytes_max;
  return std::max<std::int64_t>(old.offset - (head.second_repl_offset - 1), 0);
}

model::LastFailover Finished(const Context& context, const model::EngineFacts& head) {
  const model::Transition& done = *context.record().transition;
  const model::Memory& memory = context.seen.memory;
  model::LastFailover last;
  last.id = done.id;
  last.from_name = done.from_name;
  last.to_name = done.to_name;
  last.reason = done.reason;
  last.finished_wall_ms = context.seen.wall_now;
  last.duration_ms = context.seen.wall_now - done.started_wall_ms;
  last.lost_bytes_max = LostBytes(context, head);
  last.detect_ms = done.detect_ms;
  last.planned = done.planned;
  last.recovered = done.planned;  // nobody was lost
  if (memory.decided_id == done.id && memory.promoted_at > 0 && memory.endpoint_at > 0) {
    last.promote_ms = memory.promoted_at - memory.decided_at;
    last.endpoint_ms = memory.endpoint_at - memory.promoted_at;
  }
  CountInCoolDown(context.seen, last);
  return last;
}

// ElastiCache's order: the failover is completed, then the lost node is recovered.
void CloseFailover(Context& context, const model::EngineFacts& head) {
  const model::LastFailover last = Finished(context, head);
  context.next.last_failover = last;
  FinishTest(context, last);
  context.Do(model::EmitEvent{!last.planned, "FailoverCompleted",
                              "Failover from primary node " + last.from_name +
                                  " to replica node " + last.to_name + " completed (" +
                                  last.reason + ", epoch " +
                                  std::to_string(context.record().epoch) + "). " +
                                  LossWords(last.lost_bytes_max)});
  if (!last.recovered) {
    context.Do(model::EmitEvent{false, "RecoveringNodes",
                                "Recovering cache nodes " + last.from_name});
  }
}

}  // namespace

void PlanRecovered(Context& context) {
  auto& last = context.next.last_failover;
  if (!last || last->recovered || context.next.transition) return;
  if (static_cast<int>(context.next.in_sync.size()) < context.spec().replicas) return;
  last->recovered = true;
  context.Do(model::EmitEvent{false, "RecoveredNodes",
                              "Finished recovery for cache nodes " + last->from_name});
}

void PlanTransition(Context& context) {
  const model::PrimaryRef& granted = *context.record().primary;
  const Member* member = context.seen.FindMember(granted.uid);
  context.Watch(model::Attention::kUrgent);
  context.LookAgain(kFastMs);
  const model::Stage stage = context.record().transition->stage;
  const bool took_over = member != nullptr && Answers(*member) &&
                         RunOf(*member) == granted.run_id && member->engine.facts->is_primary;
  if (stage == model::Stage::kReturning || (stage == model::Stage::kSwitching && !took_over)) {
    PlanHandOver(context);
    return;
  }
  if (member == nullptr || !Answers(*member) || RunOf(*member) != granted.run_id) {
    PlanLostGrant(context);
    return;
  }
  const model::EngineFacts& facts = *member->engine.facts;
  if (!facts.is_primary) {
    Promote(context, granted.uid, granted.run_id, context.record().transition->reason);
    return;
  }
  if (PlanPrimarySlice(context)) return;
  // The new history is recorded before anybody follows it (rule following).
  RecordHistory(context, facts);
  const model::Transition& done = *context.record().transition;
  if (done.from_uid == done.to_uid) {
    context.Do(model::EmitEvent{false, "PrimaryRestored",
                                done.to_name + " is the primary again: " + done.reason + "."});
  } else if (!done.from_uid.empty()) {
    CloseFailover(context, facts);
  } else {
    context.Do(model::EmitEvent{false, "PrimaryGranted",
                                done.to_name + " is the first primary."});
  }
  if (stage == model::Stage::kSwitching) {  // they were the old primary's
    context.next.write_guard = false;
    context.next.in_sync.clear();
  }
  context.next.transition.reset();
}

void RecordHistory(Context& context, const model::EngineFacts& facts) {
  auto& lineage = context.next.lineage;
  if (!lineage.empty() && lineage.back().repl_id == facts.repl_id) {
    // A grant closed it, but NO ONE changes nothing where the process was a primary already.
    lineage.back().up_to = -1;
    return;
  }
  if (!lineage.empty() && facts.repl_id2 == lineage.back().repl_id &&
      facts.second_repl_offset > 0) {
    lineage.back().up_to = facts.second_repl_offset - 1;
  } else {
    CloseLineage(context, facts.offset);
  }
  lineage.push_back({facts.repl_id, -1});
  while (lineage.size() > model::kLineageMax) lineage.erase(lineage.begin());
}

}  // namespace regroup::plan
