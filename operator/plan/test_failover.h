// TestFailover, as ElastiCache has it: a one-shot request (an annotation whose value is its id)
// that ends the primary's process for real, so that what is tested is the failover itself. Asked
// for twice with one id it happens once; its result stays in status.
// Thread: pure; adds to the context.
#pragma once

#include "operator/plan/context.h"

namespace regroup::plan {

// A serving primary: takes up a new request, or refuses it and says why. True when this pass acts.
bool PlanTestFailover(Context& context, const model::Member& primary);

// The failover of `from_run_id` that is under way is a test's.
bool IsTest(const model::NodeGroupRecord& record, const std::string& from_run_id);

// A failover ended: the test that caused it has its result.
void FinishTest(Context& context, const model::LastFailover& last);

}  // namespace regroup::plan
