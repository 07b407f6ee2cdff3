#include "operator/plan/status.h"

#include <algorithm>

#include "operator/plan/topology.h"

namespace regroup::plan {

using model::Condition;
using model::ConditionStatus;
using model::Member;

namespace {

struct Facts {
  const Member* primary = nullptr;
  bool serving = false;   // the granted primary answers as primary and is in its slice
  int replicas = 0;       // in sync
  int ready = 0;          // members that do their job
  std::string missing;    // why not Ready
};

bool Serving(const Context& context, const Member& primary) {
  if (!Answers(primary) || !primary.engine.facts->is_primary) return false;
  if (DiskFailed(primary)) return false;
  if (RunOf(primary) != context.record().primary->run_id || context.next.transition) return false;
  const auto& endpoints = context.seen.primary_slice.endpoints;
  return context.seen.primary_slice.epoch == context.record().epoch && endpoints.size() == 1 &&
         endpoints.front().uid == primary.uid;
}

Facts Gather(const Context& context) {
  Facts facts;
  if (context.record().primary) {
    facts.primary = context.seen.FindMember(context.record().primary->uid);
  }
  facts.serving = facts.primary != nullptr && Serving(context, *facts.primary);
  for (const model::MemberRef& ref : context.next.in_sync) {
    const Member* member = context.seen.FindMember(ref.uid);
    if (member == nullptr || Deleting(*member)) continue;
    if (Answers(*member) || Unheard(*member)) ++facts.replicas;
  }
  facts.ready = facts.replicas + (facts.serving ? 1 : 0);
  const int wanted = context.spec().members();
  if (!facts.serving) {
    facts.missing = context.blocked.empty() ? "No member serves writes yet." : context.blocked;
  } else if (facts.ready < wanted) {
    facts.missing = std::to_string(facts.ready) + " of " + std::to_string(wanted) +
                    " members are in sync.";
  } else if (static_cast<int>(LivePods(context.seen).size()) != wanted) {
    facts.missing = "A member is being removed.";
  } else {
    facts.missing = context.pending;
  }
  return facts;
}

void Put(Context& context, const std::string& type, ConditionStatus status,
         const std::string& reason, const std::string& message) {
  Condition condition{type,    status, reason, message, context.seen.group.meta.generation,
                      context.seen.wall_now};
  for (const Condition& old : context.seen.group.view.conditions) {
    if (old.type == type && old.status == condition.status) {
      condition.last_transition_wall_ms = old.last_transition_wall_ms;
    }
  }
  context.plan.view.conditions.push_back(condition);
}

void Put(Context& context, const std::string& type, bool holds, const std::string& reason,
         const std::string& message) {
  Put(context, type, holds ? ConditionStatus::kTrue : ConditionStatus::kFalse, reason, message);
}

constexpr std::int64_t kFirstLookMs = 3000;  // the time that first connections may take

// A new leader, whose connections have yet to open, lets stand what the last one published.
bool YetToLook(const Context& context) {
  return context.unseen && context.blocked.empty() &&
         context.seen.now - context.seen.memory.leading_since < kFirstLookMs;
}

constexpr std::int64_t kDoubtMs = 1000;

// A doubt that is often over in a moment, or a failover that begins, is not written before its
// time: when many groups lose their primaries at once, those writes would delay all failovers.
bool JustLost(const Context& context) {
  if (!context.blocked.empty() || context.record().transition) return false;
  if (!context.unseen && context.plan.failover_id.empty()) return false;
  const auto& granted = context.record().primary;
  const Member* primary = granted ? context.seen.FindMember(granted->uid) : nullptr;
  return primary != nullptr && primary->engine.last_heard > 0 &&
         context.seen.now - primary->engine.last_heard < kDoubtMs;
}

// Nobody says that the primary failed, and the operator does not see that it serves: its own
// network may be at fault.
bool PutUnseen(Context& context) {
  if (!context.unseen || !context.blocked.empty()) return false;
  const std::string message = "The operator cannot see whether the primary serves.";
  for (const char* type : {"Ready", "Available", "FailoverReady"}) {
    Put(context, type, ConditionStatus::kUnknown, "PrimaryNotSeen", message);
  }
  Put(context, "Reconciling", true, "PrimaryNotSeen", message);
  Put(context, "Stalled", false, "Progressing", "Nothing waits for a human.");
  return true;
}

void PutConditions(Context& context, const Facts& facts) {
  if (PutUnseen(context)) return;
  const bool ready = facts.missing.empty() && !context.stalled;
  const bool pending = !context.pending.empty() && facts.missing == context.pending;
  const std::string reason = !context.blocked_reason.empty() ? context.blocked_reason
                             : pending                       ? context.pending_reason
                             : facts.serving                 ? "MembersNotInSync"
                                                             : "NoPrimary";
  // The message belongs to the reason: where the group is blocked, both say why.
  const std::string& missing = context.blocked.empty() ? facts.missing : context.blocked;
  Put(context, "Ready", ready, ready ? "AllMembersInSync" : reason,
      ready ? "All " + std::to_string(facts.ready) + " members serve." : missing);
  Put(context, "Available", facts.serving, facts.serving ? "PrimaryServes" : reason,
      facts.serving ? "The primary endpoint takes writes." : missing);
  const bool enabled = context.spec().automatic_failover_enabled;
  const bool failover = enabled && facts.serving && facts.replicas > 0;
  Put(context, "FailoverReady", failover,
      failover ? "ReplicaInSync" : enabled ? "NoReplicaInSync" : "AutomaticFailoverDisabled",
      failover  ? "A replica can take over at any moment."
      : enabled ? "No replica is in sync, so none could take over."
                : "spec.automaticFailoverEnabled is not true.");
  Put(context, "Reconciling", !ready && !context.stalled, ready ? "AsWanted" : reason,
      ready ? "The group is as its spec wants it." : missing);
  Put(context, "Stalled", context.stalled, context.stalled ? reason : "Progressing",
      context.stalled ? context.blocked : "Nothing waits for a human.");
}

std::string MemberState(const Context& context, const Member& member) {
  if (Deleting(member)) return "deleting";
  if (Unheard(member) && RefIn(context.next.in_sync, member.uid) != nullptr) return "available";
  if (!member.pod->running || member.engine.reach == model::Reach::kUnknown) return "creating";
  if (!Answers(member)) return "unreachable";
  const bool primary = context.record().primary && context.record().primary->uid == member.uid;
  if (primary && member.engine.facts->is_primary) return "available";
  return IsIn(context.next.in_sync, member) ? "available" : "syncing";
}

void PutMembers(Context& context) {
  for (const Member& member : context.seen.members) {
    if (!member.pod) continue;
    model::MemberStatus status;
    status.name = member.name;
    status.uid = member.uid;
    status.zone = member.pod->zone;
    status.node = member.pod->node;
    status.address = member.pod->ip;
    status.status = MemberState(context, member);
    const bool granted = context.record().primary && context.record().primary->uid == member.uid;
    if (status.status == "available") status.current_role = granted ? "primary" : "replica";
    context.plan.view.members.push_back(status);
  }
  std::sort(context.plan.view.members.begin(), context.plan.view.members.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
}

}  // namespace

void BuildView(Context& context) {
  model::GroupView& view = context.plan.view;
  const bool published = !context.seen.group.view.conditions.empty();
  if (published && (YetToLook(context) || JustLost(context))) {
    view = context.seen.group.view;
    return;
  }
  const model::GroupMeta& meta = context.seen.group.meta;
  const Facts facts = Gather(context);
  view.observed_generation = meta.generation;
  view.status = meta.deleting                            ? "deleting"
                : facts.missing.empty()                  ? "available"
                : facts.serving || context.record().epoch > 0 ? "modifying"
                                                         : "creating";
  PutConditions(context, facts);
  PutMembers(context);
  view.primary_endpoint = meta.name + "-primary." + meta.namespace_name + ".svc";
  view.reader_endpoint = meta.name + "-reader." + meta.namespace_name + ".svc";
  view.port = context.spec().port;
  view.replicas = facts.replicas;
  view.selector = "regroup.dev/group=" + meta.name;
  view.pending_restart_parameters = context.seen.restart_parameters;
  view.engine_version_actual = facts.primary != nullptr && facts.primary->engine.facts
                                   ? facts.primary->engine.facts->version
                                   : context.seen.group.view.engine_version_actual;
}

}  // namespace regroup::plan
