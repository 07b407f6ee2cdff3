// Which members exist: placement over zones, names, replacement and removal (rule removal).
// Thread: pure; adds to the context.
#pragma once

#include <string>
#include <vector>

#include "operator/plan/context.h"

namespace regroup::plan {

// Pods that count as members: neither deleting nor finished.
std::vector<const model::Member*> LivePods(const model::Observed& seen);

// The zone for the next member, given the zones taken so far; empty where nodes have no zones.
std::string ChooseZone(const model::Observed& seen, const std::vector<std::string>& taken);

// Its pod has waited for zone_wait_seconds, and no node could take it.
bool NoNodeTook(const model::Observed& seen, const model::Member& member);

// Creates what is missing and replaces what cannot run again.
void PlanCreation(Context& context);
// One member too many: names the least useful one in context.leaving_uid, never the primary.
void PickLeaving(Context& context, const model::Member& primary);
// Takes the leaving member away: out of sync first, then detached, then deleted.
void PlanRemoval(Context& context, const model::Member& primary);

}  // namespace regroup::plan
