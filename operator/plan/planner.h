// The decision of Regroup as one pure function: what the user wants and what is seen now, in; the
// change of the durable record, one round of effects, the view and the reasons, out.
// Thread: any; no state, no clock, no I/O. Source: design sections 2 and 4.
#pragma once

#include "operator/model/observed.h"
#include "operator/model/plan.h"

namespace regroup::plan {

model::Plan MakePlan(const model::Observed& seen, const model::PlanOptions& options);

}  // namespace regroup::plan
