// Which replica is promoted (rule candidate), and who may be granted when none is (rule
// nothing-promotable).
// Thread: pure functions.
#pragma once

#include <functional>
#include <string>

#include "operator/model/observed.h"
#include "operator/model/plan.h"

namespace regroup::plan {

struct Choice {
  const model::Member* member = nullptr;  // none: see why_not
  std::int64_t offset = 0;
  std::string why_not;  // one clause a refused member, for the condition and the log
};

// The best in-sync replica: newest lineage, then greatest offset, then a zone that keeps the
// spread, then the name. `exclude_uid` is the old primary. With `fits` only members for which it
// holds are looked at.
using FitsFn = std::function<bool(const model::Member&)>;
Choice ChooseCandidate(const model::Observed& seen, const model::PlanOptions& options,
                       const std::string& exclude_uid, const FitsFn& fits = nullptr);

// For memory-only groups whose primary's data cannot return: the best holder of the recorded
// lineage, in sync or not.
Choice ChooseHolder(const model::Observed& seen, const std::string& exclude_uid);

// The member's data is a prefix of the recorded history. newest: its replID is the last entry.
bool InLineage(const model::NodeGroupRecord& record, const model::EngineFacts& facts,
               bool* newest = nullptr);

// The offset that counts for a choice: of our own fence, when that was younger than the last INFO.
std::int64_t OffsetOf(const model::Observed& seen, const model::Member& member);

// Where no data decides: the answering member in the preferred zone, else the first by name.
// silent_only: none that takes writes now.
const model::Member* FirstMember(const model::Observed& seen, bool silent_only);

}  // namespace regroup::plan
