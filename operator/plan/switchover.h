// Rule planned: the primary's role moves while the old primary answers, and nothing that it has
// acknowledged is lost. One CAS names both; then, in one round without any API call in between,
// the old primary is fenced (its answer holds its final offset) and the new one is told once it has
// read so far. Where that cannot be finished it goes back: the new one is fenced or proven dead
// first.
// Thread: pure; each function adds to the context.
#pragma once

#include "operator/plan/context.h"

namespace regroup::plan {

// A serving primary shall go: its pod is being deleted, its node is being drained, or the spec
// names another one. True when this pass began to move the role.
bool PlanSwitchover(Context& context, const model::Member& primary);

// When a kube-proxy follows a slice that is written now. One that is idle does so at once; one that
// synced in the last second (at its default minSyncPeriod) waits for the rest of it, with all that
// was written meanwhile. `last`: the same for the write before, 0 for none.
MonoMs ProxySyncAfter(MonoMs last, MonoMs now);

// A transition in stage kSwitching or kReturning whose new primary does not take writes (yet).
void PlanHandOver(Context& context);

}  // namespace regroup::plan
