// ReplicationGroup JSON <-> values. Reading never fails on a strange object: what cannot be used
// ends up in Group::spec_error, so that the object stays visible and its pods stay untouched.
// Thread: pure functions.
#pragma once

#include "operator/base/json.h"
#include "operator/model/replication_group.h"

namespace regroup::model {

inline constexpr char kApiGroup[] = "regroup.dev";
inline constexpr char kApiVersion[] = "v1alpha1";
inline constexpr char kKind[] = "ReplicationGroup";
inline constexpr char kResource[] = "replicationgroups";
inline constexpr char kFinalizer[] = "regroup.dev/members";
// Set by a human when a member's node will never return and the group must go all the same.
inline constexpr char kForgetAnnotation[] = "regroup.dev/forget-unreachable-members";
// Each new value asks for one TestFailover; the value is its id in status and Events.
inline constexpr char kTestFailoverAnnotation[] = "regroup.dev/test-failover";

Group ParseGroup(const Json& object);

// The whole `status` for a PUT to /status: view and record in ElastiCache's shape, deterministic
// (same values, same bytes), without anything secret.
Json RenderStatus(const GroupView& view, const NodeGroupRecord& record);

}  // namespace regroup::model
