// Rule kill-not-wait: where a failed primary's silence cannot be proven by waiting, its end is made
// and the kubelet's word, or the closed connection, is the proof; only with a candidate ready.
// Where even that is impossible the API server's loss of the nodes has to do, after a set time.
// Thread: pure; adds to the context.
#pragma once

#include "operator/plan/context.h"
#include "operator/plan/fault_kind.h"

namespace regroup::plan {

// Ends the process of a hung primary (its pod, with a grace of a second) when a candidate is ready.
void PlanKill(Context& context, const Fault& fault, const model::Member& primary);

// A busy or loading primary cannot hand over. When it is being deleted and a candidate is ready
// its end is asked for at once. True when this pass does so.
bool PlanEndOfBusy(Context& context, const model::Member& primary);

// The time without proof is over, and the API server has lost the node of every recorded member
// that nobody accounts for. waits_ms > 0: not yet, look again then.
struct Unproven {
  bool allowed = false;
  std::int64_t waits_ms = 0;
};
Unproven MayPromoteUnproven(const model::Observed& seen, const model::PlanOptions& options);

}  // namespace regroup::plan
