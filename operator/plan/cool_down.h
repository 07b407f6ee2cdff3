// Rule cool-down: after an automatic failover the next one waits unless the new primary is proven
// dead, and twice as long each time that failovers which rest on silence follow each other closely.
// A network that flaps is then followed a few times and not for ever.
// Thread: pure functions. Units: milliseconds; wall-clock times, because another leader may go on.
#pragma once

#include "operator/model/observed.h"
#include "operator/model/plan.h"

namespace regroup::plan {

// How long the next automatic failover that rests on no proof of death has to wait; 0: it need not.
std::int64_t CoolDownLeftMs(const model::Observed& seen, const model::PlanOptions& options);

// What the record says of a failover that ends now: the streak and the time from which it counts.
void CountInCoolDown(const model::Observed& seen, model::LastFailover& last);

}  // namespace regroup::plan
