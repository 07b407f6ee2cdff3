// What the two endpoints serve (rule endpoints), and the recording of the primary's history.
// Thread: pure; adds to the context.
#pragma once

#include "operator/plan/context.h"

namespace regroup::plan {

// Writes the primary's slice when it does not show the granted primary with its epoch. True: a
// write is needed, and nothing else may share its round.
bool PlanPrimarySlice(Context& context);

// In-sync replicas with their zones; the primary where there is none.
void PlanReaderSlice(Context& context);

// The primary's replID enters the lineage; a changed one closes the entry before it.
void RecordHistory(Context& context, const model::EngineFacts& facts);

}  // namespace regroup::plan
