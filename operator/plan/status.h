// The view for people and for kstatus readers (design 5): conditions, members, endpoints. Holds
// nothing that changes at rest, so that at rest nothing is written.
// Thread: pure.
#pragma once

#include "operator/plan/context.h"

namespace regroup::plan {

void BuildView(Context& context);

}  // namespace regroup::plan
