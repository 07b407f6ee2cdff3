// What the members of a served group need: fenced strangers, followers of the one primary, the
// in-sync list, the write guard, live parameters, users and role labels (rules following,
// write-guard, old-clients, record-first).
// Thread: pure; each adds to the context.
#pragma once

#include "operator/plan/context.h"

namespace regroup::plan {

// Whoever takes writes without being the recorded primary is fenced, before anything else.
void PlanStrangers(Context& context);
// New members enter the record, then follow; a changed replID of the primary is recorded first.
void PlanFollowers(Context& context, const model::Member& primary);
// The in-sync list and the guard: arm = engine, then CAS; lift = CAS, then engine.
void PlanInSync(Context& context, const model::Member& primary);
// Clients of a demoted primary are cut off again at 0.1, 0.5, 2 and 5 s.
void PlanOldClients(Context& context);
// CONFIG SET and ACL SETUSER of what changed, on each member that answers.
void PlanSettings(Context& context);
void PlanRoleLabels(Context& context);
// UIDs whose process is proven dead leave `members` and `suspects`.
void PlanFarewells(Context& context);

// A former primary's clients may still be on it by an old kube-proxy rule.
bool StillShedding(const Context& context, const model::Member& member);

// A member's line in the primary's INFO; none: the primary does not know it.
const model::ReplicaLine* LineOf(const model::EngineFacts& primary, const model::Member& member);

// The replicas that the primary's own INFO shows online with a small lag (rule following).
std::vector<model::MemberRef> InSyncNow(const Context& context, const model::Member& primary);

}  // namespace regroup::plan
