#include "operator/plan/switchover.h"

#include <algorithm>

#include "operator/plan/candidate.h"
#include "operator/plan/cool_down.h"
#include "operator/plan/fault_kind.h"
#include "operator/plan/failover.h"
#include "operator/plan/followers.h"

namespace regroup::plan {

using model::EngineChange;
using model::EngineEffect;
using model::Member;
using model::Stage;

namespace {

constexpr char kDeleted[] = "PrimaryDeleted";
constexpr char kDrained[] = "NodeDrained";
constexpr char kDiskFailed[] = "DiskFailed";
constexpr char kRequested[] = "PrimaryRequested";
constexpr char kAborted[] = "SwitchoverAborted";

constexpr std::int64_t kFastMs = 10;
// "Close": more than this cannot be read in the time that a write gap may take.
constexpr std::int64_t kCloseBytes = std::int64_t{8} << 20;
constexpr std::int64_t kCatchUpMs = 1000;    // from the fence to the promotion; then it goes back
constexpr std::int64_t kProxySyncMs = 1000;  // kube-proxy's minSyncPeriod
constexpr std::int64_t kProxyLagMs = 200;    // until it has heard of a slice and followed it
constexpr std::int64_t kTryAgainMs = 10'000; // after a switchover that went back

struct Wish {
  std::string to;      // name of the wanted member; empty: the best one
  std::string reason;  // empty: there is no wish
};

bool Draining(const model::Observed& seen, const Member& member) {
  const model::NodeView* node = NodeOf(seen, member.pod ? &*member.pod : nullptr);
  return node != nullptr && node->draining;
}

Wish WishOf(const Context& context, const Member& primary) {
  const bool automatic = context.fails_over();
  if (Deleting(primary)) return automatic ? Wish{"", kDeleted} : Wish{};
  if (automatic && Draining(context.seen, primary)) return {"", kDrained};
  if (automatic && DiskFailed(primary)) return {"", kDiskFailed};
  const std::string& wanted = context.spec().primary_cluster_id;
  if (!wanted.empty() && wanted != primary.name) return {wanted, kRequested};
  return {};
}

// In sync by the primary's own word, and so close that it can read the rest at once.
bool Close(const Context& context, const Member& primary, const Member& member) {
  bool in_sync = false;
  for (const model::MemberRef& ref : InSyncNow(context, primary)) {
    in_sync = in_sync || ref.uid == member.uid;
  }
  const model::ReplicaLine* line = LineOf(*primary.engine.facts, member);
  return in_sync && line != nullptr && primary.engine.facts->offset - line->offset <= kCloseBytes;
}

// Empty, or why the wished member cannot be had now.
std::string Missing(const Context& context, const std::string& name) {
  for (const Member& member : context.seen.members) {
    if (member.name != name || !member.pod) continue;
    if (Draining(context.seen, member)) return name + " is on a node that is being drained";
    if (DiskFailed(member)) return name + " cannot write to its disk";
    return name + " is not in sync yet";
  }
  return name + " does not exist; name one of the members, or remove the field";
}

void WaitForWish(Context& context, const Wish& wish) {
  context.LookAgain(1000);
  if (wish.reason == kDiskFailed) {
    context.Block("DiskFailed", "The primary cannot write to its disk and refuses writes, and no "
                  "replica can take over. Make room on its volume, or enlarge it.");
  }
  if (wish.reason != kRequested) {
    context.Say("the role would move (" + wish.reason + "), but no replica is ready for it");
    return;
  }
  context.pending_reason = "PrimaryNotAsRequested";
  context.pending = "spec.primaryClusterID names " + wish.to + ", but " +
                    Missing(context, wish.to) + ".";
}

// A kube-proxy that has just synced waits a second before it does so again, and nobody takes writes
// meanwhile. A member that has just lost the role gets it back by the spec's wish only after
// the cool-down, and a switchover that went back is not tried again at once.
std::int64_t PauseMs(const Context& context, const Wish& wish) {
  const model::Memory& memory = context.seen.memory;
  std::int64_t left_ms = 0;
  if (memory.proxies_synced_at > 0) {
    left_ms = memory.proxies_synced_at + kProxySyncMs + kProxyLagMs - context.seen.now;
  }
  if (memory.switch_given_up_at > 0) {
    left_ms = std::max(left_ms, memory.switch_given_up_at + kTryAgainMs - context.seen.now);
  }
  const auto& last = context.record().last_failover;
  if (wish.reason == kRequested && last && !last->planned) {
    left_ms = std::max(left_ms, CoolDownLeftMs(context.seen, context.options));
  }
  return left_ms;
}

void Begin(Context& context, const Member& from, const Member& to, const std::string& reason) {
  const model::NodeGroupRecord before = context.next;
  const model::PrimaryRef old = *context.record().primary;
  Grant(context, to, -1, reason);  // its history goes on to where it will have read
  if (!context.options.planned) return;
  model::Transition& transition = *context.next.transition;
  transition.stage = Stage::kSwitching;
  transition.planned = true;
  transition.from_run_id = old.run_id;
  transition.from_container_id = old.container_id;
  transition.detect_ms = 0;
  // Until the new one is told they are still true of the old one, which may be granted again.
  context.next.write_guard = before.write_guard;
  context.next.in_sync = before.in_sync;
  context.plan.effects.pop_back();
  context.Do(ChangeOf(from, EngineChange::kFence, "the role moves to " + to.name + ": " + reason));
  EngineEffect promote = ChangeOf(to, EngineChange::kPromote, reason);
  promote.after_uid = from.uid;
  context.Do(promote);
}

// ------------------------------------------------------------ a hand-over that is under way

struct Ends {
  const Member* from = nullptr;
  const Member* to = nullptr;
  bool from_answers = false;  // as the process that held the role
  bool to_answers = false;    // as the process that was granted
  bool from_dead = false;
  bool to_dead = false;
};

Ends EndsOf(const Context& context) {
  const model::Transition& transition = *context.record().transition;
  const model::PrimaryRef& granted = *context.record().primary;
  Ends ends;
  ends.from = context.seen.FindMember(transition.from_uid);
  ends.to = context.seen.FindMember(granted.uid);
  if (ends.from != nullptr) {
    ends.from_answers = Answers(*ends.from) && RunOf(*ends.from) == transition.from_run_id;
    ends.from_dead = ProvenDead(context.seen, *ends.from, transition.from_run_id,
                                transition.from_container_id);
  }
  if (ends.to != nullptr) {
    ends.to_answers = Answers(*ends.to) && RunOf(*ends.to) == granted.run_id;
    ends.to_dead = ProvenDead(context.seen, *ends.to, granted.run_id, granted.container_id);
  }
  return ends;
}

bool Quiet(const Context& context, const Member* member) {
  return member == nullptr || context.seen.now - member->engine.last_heard > kMissedAnswerMs;
}

void GoBack(Context& context, const std::string& why) {
  context.next.transition->stage = Stage::kReturning;
  context.Say("the switchover goes back: " + why);
}

// The old primary is fenced: the new one is told once it has read all that the old one had.
void PromoteWhenRead(Context& context, const Ends& ends) {
  const model::Memory::Ack* ack = AckOf(context.seen, *ends.from);
  const std::int64_t final_offset = ack != nullptr ? ack->offset : ends.from->engine.facts->offset;
  const MonoMs since = ack != nullptr ? ack->at : ends.from->engine.fenced_since;
  if (OffsetOf(context.seen, *ends.to) >= final_offset) {
    Promote(context, ends.to->uid, RunOf(*ends.to), context.record().transition->reason);
  } else if (context.seen.now - since > kCatchUpMs) {
    GoBack(context, ends.to->name + " has not read the last writes in time");
  } else {
    context.Say(ends.to->name + " reads the last writes of " + ends.from->name);
  }
}

// A dead process' last bytes may still be on their way to the new primary.
bool StillReads(const Context& context, const Ends& ends) {
  const MonoMs ended = std::max(ends.from->engine.fin_at, ends.from->engine.last_heard);
  return ends.to->engine.facts->link_up && context.seen.now - ended < kCatchUpMs;
}

void PlanSwitching(Context& context, const Ends& ends) {
  if (!ends.to_answers) {
    if (ends.to_dead || (ends.to != nullptr && Answers(*ends.to)) || Quiet(context, ends.to)) {
      GoBack(context, context.record().primary->name + " was lost before it could take over");
    }
    return;
  }
  if (ends.from_answers) {
    const bool fenced = AckOf(context.seen, *ends.from) != nullptr ||
                        ends.from->engine.facts->fenced();
    if (fenced) return PromoteWhenRead(context, ends);
    context.Do(ChangeOf(*ends.from, EngineChange::kFence, "its role moves"));
    EngineEffect promote =
        ChangeOf(*ends.to, EngineChange::kPromote, context.record().transition->reason);
    promote.after_uid = ends.from->uid;
    context.Do(promote);
    return;
  }
  if (ends.from_dead) {
    if (StillReads(context, ends)) return;
    Promote(context, ends.to->uid, RunOf(*ends.to), context.record().transition->reason);
    return;
  }
  if (Quiet(context, ends.from)) {
    GoBack(context, context.record().transition->from_name + " stopped answering");
  }
}

// Who has read the record since the stage was stored promotes nobody; a change of the new primary
// that is acknowledged after that ends what an older leader may still have had under way there.
bool ToIsSilent(Context& context, const Ends& ends) {
  if (ends.to_answers) {
    const model::Memory::Ack* ack = AckOf(context.seen, *ends.to);
    if (ack != nullptr && ack->at >= context.seen.memory.switch_given_up_at) return true;
    context.Do(ChangeOf(*ends.to, EngineChange::kFence, "the switchover goes back"));
    return false;
  }
  if (ends.to_dead) return true;
  context.Block("PrimaryNotProvenSilent", "The switchover to " + context.record().primary->name +
                " goes back, but that member does not answer and may have been told already.");
  context.LookAgain(200);
  return false;
}

void PlanReturning(Context& context, const Ends& ends) {
  if (!ToIsSilent(context, ends)) return;
  const model::Transition gone = *context.record().transition;
  model::NodeGroupRecord& next = context.next;
  const std::string to_uid = context.record().primary->uid;
  std::erase_if(next.in_sync, [&](const model::MemberRef& ref) { return ref.uid == to_uid; });
  if (ends.from_answers && !ends.from->engine.facts->is_primary) {
    const std::vector<model::MemberRef> in_sync = next.in_sync;
    Grant(context, *ends.from, -1, kAborted);
    next.in_sync = in_sync;  // nobody has taken a write since; the guard is lifted with the grant
    next.transition->from_uid = gone.from_uid;
    next.transition->from_name = gone.from_name;
  } else {
    next.epoch = context.newest_epoch() + 1;
    next.primary = model::PrimaryRef{gone.from_uid, gone.from_name, gone.from_run_id,
                                     gone.from_container_id, "", ""};
    if (const model::PodView* pod = ends.from == nullptr ? nullptr : LastPod(*ends.from)) {
      next.primary->address = pod->ip;
      next.primary->node = pod->node;
    }
    next.transition.reset();
  }
  std::erase(next.suspects, gone.from_uid);
  context.Do(model::EmitEvent{true, kAborted,
                              "The switchover from " + gone.from_name + " to " + gone.to_name +
                                  " could not be finished; " + gone.from_name +
                                  " stays the primary. It is tried again after a pause."});
}

}  // namespace

MonoMs ProxySyncAfter(MonoMs last, MonoMs now) {
  if (last > now) return last;  // it is waiting already
  return last > 0 ? std::max(now, last + kProxySyncMs) : now;
}

bool PlanSwitchover(Context& context, const Member& primary) {
  const Wish wish = WishOf(context, primary);
  if (wish.reason.empty()) return false;
  const auto fits = [&](const Member& member) {
    return (wish.to.empty() || member.name == wish.to) && !Draining(context.seen, member) &&
           !DiskFailed(member) && Close(context, primary, member);
  };
  const Choice choice = ChooseCandidate(context.seen, context.options, primary.uid, fits);
  if (choice.member == nullptr) {
    WaitForWish(context, wish);
    return false;
  }
  if (const std::int64_t left_ms = PauseMs(context, wish); left_ms > 0) {
    context.Say("the role moves to " + choice.member->name + " after a pause");
    context.LookAgain(left_ms);
    return false;
  }
  context.Say("planned: " + primary.name + " hands over to " + choice.member->name + ": " +
              wish.reason);
  Begin(context, primary, *choice.member, wish.reason);
  return true;
}

void PlanHandOver(Context& context) {
  context.Watch(model::Attention::kUrgent);
  context.LookAgain(kFastMs);
  const Ends ends = EndsOf(context);
  if (context.record().transition->stage == Stage::kReturning) PlanReturning(context, ends);
  else PlanSwitching(context, ends);
}

}  // namespace regroup::plan
