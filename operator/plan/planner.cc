#include "operator/plan/planner.h"

#include <algorithm>

#include "operator/plan/candidate.h"
#include "operator/plan/endpoints.h"
#include "operator/plan/failover.h"
#include "operator/plan/followers.h"
#include "operator/plan/kill_not_wait.h"
#include "operator/plan/status.h"
#include "operator/plan/switchover.h"
#include "operator/plan/test_failover.h"
#include "operator/plan/topology.h"

namespace regroup::plan {

using model::Member;
using model::Observed;
using model::OwnedKind;
using model::OwnedState;

namespace {

constexpr std::int64_t kRestLookMs = 1000;
constexpr std::int64_t kWholeLookMs = 30'000;

// Passwords that members know cannot be made again, and new ones would lock the operator out.
bool PasswordsLost(const Context& context) {
  if (context.seen.passwords_known) return false;
  const auto& members = context.seen.members;
  return std::any_of(members.begin(), members.end(),
                     [](const Member& member) { return member.pod.has_value(); });
}

// True when the members may be made: their Secret and ConfigMap exist.
bool PlanOwned(Context& context) {
  bool ready = true;
  for (const auto& [kind, state] : context.seen.owned) {
    if (kind == OwnedKind::kSecret && state == OwnedState::kAbsent && PasswordsLost(context)) {
      context.Block("SecretLost",
                    "The group's own Secret was deleted while no operator ran, and members obey "
                    "only the passwords in it. Put it back from a backup; without one, delete all "
                    "pods of the group: new ones get new passwords, with their volumes' data, or "
                    "empty where there are none.", true);
      ready = false;
      continue;
    }
    if (state == OwnedState::kForeign) {
      context.Block("ForeignObject",
                    "An object with a name that this group needs belongs to somebody else. What an "
                    "earlier group of this name left is soon removed by the cluster's garbage "
                    "collector; anything else: delete it, or choose another name for the group.",
                    true);
      ready = ready && kind != OwnedKind::kSecret && kind != OwnedKind::kConfigMap;
    }
    if (state == OwnedState::kAbsent || state == OwnedState::kOutdated) {
      context.Do(model::ApplyOwned{kind});
    }
    if (state == OwnedState::kAbsent && kind == OwnedKind::kConfigMap) ready = false;
    // Who is born with other passwords than the operator's never lets it in.
    if (state != OwnedState::kCurrent && kind == OwnedKind::kSecret) ready = false;
  }
  return ready;
}

void PlanDeletion(Context& context) {
  if (!context.seen.group.meta.has_finalizer) return;
  bool pods = false;
  for (const Member& member : context.seen.members) {
    if (!member.pod) continue;
    pods = true;
    if (!member.pod->deleting) {
      context.Do(model::DeleteMember{member.name, member.uid, member.pod->resource_version, -1,
                                     "the group is deleted"});
    }
  }
  if (pods && !context.seen.group.meta.forget_requested) {
    context.Block("Deleting", "Waiting for the members' pods to end. If a node will never return, "
                  "set the annotation regroup.dev/forget-unreachable-members on this group.");
    context.LookAgain(kRestLookMs);
    return;
  }
  bool volumes = false;
  if (context.spec().deletion_policy == model::DeletionPolicy::kDelete) {
    for (const model::VolumeView& volume : context.seen.volumes) {
      volumes = true;
      if (!volume.deleting) {
        context.Do(model::DeleteVolume{volume.name, volume.uid, volume.resource_version});
      }
    }
  }
  if (!volumes) context.Do(model::SetFinalizer{false});
}

constexpr std::int64_t kSettledSeconds = 5;
constexpr std::int64_t kStartToleranceMs = 1500;

// True when the container that the kubelet shows is surely the one of the process that answers: a
// status may be older than a restart, but then it tells of an earlier start.
bool RunsIn(const Observed& seen, const Member& member) {
  if (!member.pod || !member.pod->running || member.pod->started_wall_ms < 0) return false;
  const std::int64_t uptime_seconds = member.engine.facts->uptime_seconds;
  if (uptime_seconds < kSettledSeconds) return false;
  const WallMs answered = seen.wall_now - (seen.now - member.engine.facts_at);
  const std::int64_t apart_ms = member.pod->started_wall_ms - (answered - uptime_seconds * 1000);
  return apart_ms <= kStartToleranceMs && apart_ms >= -kStartToleranceMs - 1000;
}

// A replica often notices its primary's death before we do. Until the primary has answered after
// that, nothing follows from the lost link: a write to the reader's slice now would make kube-proxy
// wait a second before it follows the primary's.
bool LinkLossUnexplained(const Context& context, const Member& primary) {
  for (const Member& member : context.seen.members) {
    if (!Answers(member) || !InSyncRecorded(context.record(), member)) continue;
    const MonoMs lost_at = member.engine.link_down_since;
    if (lost_at > 0 && !member.engine.facts->fenced() && primary.engine.facts_at <= lost_at) {
      return true;
    }
  }
  return false;
}

// A replica whose disk is full serves reads, but what it holds would not survive its end.
void PlanDisks(Context& context) {
  for (const Member& member : context.seen.members) {
    if (!DiskFailed(member) || !context.pending.empty()) continue;
    context.pending_reason = "DiskFailed";
    context.pending = member.name + " cannot write to its disk. Make room on its volume, or "
                      "enlarge it.";
  }
}

void PlanServed(Context& context, const Member& primary) {
  if (PlanPrimarySlice(context)) return;
  if (LinkLossUnexplained(context, primary)) {
    context.Say("a replica lost its link; the primary is asked");
    context.Watch(model::Attention::kUrgent);
    context.LookAgain(10);
    return;
  }
  PickLeaving(context, primary);
  PlanFollowers(context, primary);
  PlanInSync(context, primary);
  PlanRecovered(context);
  PlanFarewells(context);
  PlanRemoval(context, primary);
  PlanReaderSlice(context);
  PlanOldClients(context);
  PlanSettings(context);
  PlanRoleLabels(context);
  PlanDisks(context);
  model::PrimaryRef& granted = *context.next.primary;
  // The granted process answers, so a container that ended was never its own: the kubelet's word
  // was late when it was recorded, and would prove a death that did not happen.
  if (primary.pod && !granted.container_id.empty() &&
      granted.container_id == primary.pod->terminated_container_id) {
    granted.container_id.clear();
  }
  if (granted.container_id.empty() && RunsIn(context.seen, primary)) {
    granted.container_id = primary.pod->container_id;
  }
  if (primary.pod) {
    granted.address = primary.pod->ip;
    granted.node = primary.pod->node;
  }
}

std::string ReasonOf(const Context& context, const Fault& fault) {
  if (IsTest(context.record(), context.record().primary->run_id)) return "TestFailover";
  switch (fault.kind) {
    case FaultKind::kRestarted: return "PrimaryRestarted";
    case FaultKind::kGone: return "PrimaryUnreachable";
    case FaultKind::kHung: return "PrimaryUnresponsive";
    case FaultKind::kVanished: return "PrimaryDeleted";
    case FaultKind::kNotPrimary: return "PrimaryDeleted";
    default: return "PrimaryProcessDied";
  }
}

void PlanGranted(Context& context) {
  const Fault fault = PrimaryFault(context.seen, context.options);
  const Member* primary = context.seen.FindMember(context.record().primary->uid);
  switch (fault.kind) {
    case FaultKind::kNone:
      if (PlanEndOfBusy(context, *primary)) return;
      if (!PlanSwitchover(context, *primary) && !PlanTestFailover(context, *primary)) {
        PlanServed(context, *primary);
      }
      return;
    case FaultKind::kNotPrimary:
      if (!Deleting(*primary)) {
        Regrant(context, *primary, "PrimaryRestored");
        return;
      }
      break;
    case FaultKind::kUnseen:
    case FaultKind::kSuspected:
      context.unseen = true;
      context.Watch(model::Attention::kSuspect);
      if (fault.look_again_ms > 0) context.LookAgain(fault.look_again_ms);
      context.Say("the primary is suspected: " + fault.words);
      if (primary != nullptr && PlanEndOfBusy(context, *primary)) return;
      if (fault.look_again_ms > 0 && fault.look_again_ms < 10) {
        context.Watch(model::Attention::kUrgent);
      }
      return;
    default:
      break;
  }
  context.Say("the primary failed: " + fault.words);
  PlanFailover(context, fault, ReasonOf(context, fault));
}

void PlanMain(Context& context) {
  const bool can_create = PlanOwned(context);
  // Not the reader's slice: it may be written under a record that is set back right after it.
  const std::int64_t known =
      std::max(context.seen.primary_slice.epoch, context.seen.group.forgotten_epoch);
  const bool stale = context.options.no_record && known > context.record().epoch;
  const bool recorded = context.record().epoch > 0 && context.record().primary && !stale;
  if (!recorded) {
    if (can_create) {
      PlanCreation(context);
      if (context.plan.effects.empty()) PlanBootstrap(context);
    }
    context.LookAgain(200);
    return;
  }
  const std::size_t owned = context.plan.effects.size();
  PlanStrangers(context);
  if (context.record().transition) {
    PlanTransition(context);
  } else {
    PlanGranted(context);
  }
  // Pods come and go in rounds of their own: never in the way of a failover.
  const bool busy = context.plan.effects.size() > owned || context.record_changed();
  if (can_create && !busy && !context.hurry) PlanCreation(context);
}

// Whatever the members and the API tell wakes the group; a look in between finds only what time
// alone changes, and in a group that is whole and at rest there is nothing of that kind.
bool WholeAtRest(const Context& context) {
  const model::Plan& plan = context.plan;
  if (!plan.effects.empty() || plan.record || plan.attention != model::Attention::kRest) {
    return false;
  }
  if (!context.blocked.empty() || !context.record().primary) return false;
  if (context.record().primary->container_id.empty()) return false;  // its time has yet to come
  if (!context.record().suspects.empty()) return false;
  for (const Member& member : context.seen.members) {
    if (!member.pod) return false;  // time may prove its end
  }
  return std::any_of(plan.view.conditions.begin(), plan.view.conditions.end(),
                     [](const model::Condition& condition) {
                       return condition.type == "Ready" &&
                              condition.status == model::ConditionStatus::kTrue;
                     });
}

void Finish(Context& context) {
  if (context.blocked.empty() && !context.seen.last_error.empty()) {
    context.Block("ActionFailed", context.seen.last_error);
  }
  BuildView(context);
  if (context.record_changed()) context.plan.record = context.next;
  context.LookAgain(WholeAtRest(context) ? kWholeLookMs : kRestLookMs);
}

}  // namespace

model::Plan MakePlan(const Observed& seen, const model::PlanOptions& options) {
  Context context(seen, options);
  const model::GroupMeta& meta = seen.group.meta;
  if (meta.deleting) {
    PlanDeletion(context);
  } else if (!seen.group.spec_error.empty()) {
    context.Block("InvalidSpec", seen.group.spec_error, true);
  } else if (context.spec().paused) {
    context.Block("Paused", "spec.paused is true: nothing is changed, and nothing fails over.");
  } else if (!meta.has_finalizer) {
    context.Do(model::SetFinalizer{true});
  } else {
    if (!seen.resolve_error.empty()) context.Block("InvalidSpec", seen.resolve_error, true);
    PlanMain(context);
  }
  Finish(context);
  return std::move(context.plan);
}

}  // namespace regroup::plan
