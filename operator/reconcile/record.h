// The durable decision and the view: the only writer of `status`, always by compare-and-swap on
// resourceVersion, with an unknown outcome read back (rule record-first).
// Thread: any worker.
#pragma once

#include "operator/reconcile/ports.h"

namespace regroup::reconcile {

kube::ObjectRef RefOf(const model::GroupMeta& meta);

// A live read, put into the caches. `meta` is what was known before it. kNotFound where the group
// is gone; kUnavailable where the answer is older than what was known.
Result<model::Group> ReadGroup(const Ports& ports, const model::GroupMeta& meta);

// Writes `view` and `record` over the state that `base` was read at. kConflict: somebody else
// wrote, the caches hold what is there now, plan again. The answer is the stored group.
Result<model::Group> WriteStatus(const Ports& ports, const model::Group& base,
                                 const model::GroupView& view,
                                 const model::NodeGroupRecord& record);

}  // namespace regroup::reconcile
