// The coordination Lease as a value, changed by compare-and-swap only.
// Thread: any. Errors: kConflict where somebody else was first.
#pragma once

#include <string>

#include "operator/kube/api.h"

namespace regroup::kube {

struct LeaseRecord {
  std::string holder;  // empty: nobody holds it
  int duration_seconds = 0;
  WallMs acquire_wall_ms = 0;
  WallMs renew_wall_ms = 0;
  int transitions = 0;
  std::string resource_version;
};

Result<LeaseRecord> ReadLease(Api& api, const std::string& namespace_name, const std::string& name,
                              std::int64_t timeout_ms);
Result<LeaseRecord> CreateLease(Api& api, const std::string& namespace_name,
                                const std::string& name, const LeaseRecord& record,
                                std::int64_t timeout_ms);
Result<LeaseRecord> ReplaceLease(Api& api, const std::string& namespace_name,
                                 const std::string& name, const LeaseRecord& record,
                                 std::int64_t timeout_ms);

}  // namespace regroup::kube
