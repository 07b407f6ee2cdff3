#include "operator/model/validate.h"

#include <cstdlib>

#include "operator/model/parameters.h"

namespace regroup::model {

namespace {

// "NAME-primary" is a Service and "NAME-0001-001" a pod with cluster mode: both fit 63 characters.
constexpr std::size_t kNameMax = 40;

// "7.0" < "7.2" < "8.0"; text that is no version compares as 0.0.
int VersionNumber(const std::string& version) {
  const std::size_t dot = version.find('.');
  const int major = std::atoi(version.c_str());
  const int minor = dot == std::string::npos ? 0 : std::atoi(version.c_str() + dot + 1);
  return major * 1000 + minor;
}

Result<void> Bad(const std::string& message) { return Fail(ErrorCode::kInvalid, message); }

Result<void> CheckShape(const GroupMeta& meta, const GroupSpec& spec) {
  if (meta.name.size() > kNameMax) {
    return Bad("metadata.name may have at most " + std::to_string(kNameMax) +
               " characters, because Services and pods are named after it; choose a shorter name.");
  }
  if (spec.replicas < 0 || spec.replicas > kReplicasMax) {
    return Bad("spec.replicasPerNodeGroup must be from 0 to 5.");
  }
  if (spec.cache_node_type.empty() == !spec.resources.has_value()) {
    return Bad("set exactly one of spec.cacheNodeType and spec.resources.");
  }
  if (spec.port < 1024 || spec.port > 65535) return Bad("spec.port must be from 1024 to 65535.");
  if (spec.engine_version.empty()) return Bad("spec.engineVersion must be set, for example \"7.0\".");
  return {};
}

Result<void> CheckAvailability(const GroupSpec& spec) {
  if (spec.multi_az_enabled && spec.replicas == 0) {
    return Bad("spec.multiAZEnabled needs a replica: set spec.replicasPerNodeGroup to 1 or more.");
  }
  if (spec.multi_az_enabled && !spec.automatic_failover_enabled) {
    return Bad("spec.multiAZEnabled needs spec.automaticFailoverEnabled: true.");
  }
  if (spec.automatic_failover_enabled && spec.replicas == 0) {
    return Bad("spec.automaticFailoverEnabled needs a replica: set spec.replicasPerNodeGroup to 1 "
               "or more.");
  }
  if (static_cast<int>(spec.preferred_cache_cluster_azs.size()) > spec.members()) {
    return Bad("spec.preferredCacheClusterAZs names more zones than the group has members.");
  }
  if (spec.failover.write_guard_lag_seconds < 1 || spec.failover.write_guard_lag_seconds > 60) {
    return Bad("spec.failover.writeGuardLagSeconds must be from 1 to 60.");
  }
  if (spec.failover.unreachable_after_ms < 500) {
    return Bad("spec.failover.unreachableAfterMilliseconds must be at least 500.");
  }
  return {};
}

}  // namespace

Result<void> ValidateSpec(const GroupMeta& meta, const GroupSpec& spec) {
  if (Result<void> shape = CheckShape(meta, spec); !shape) return shape;
  if (Result<void> available = CheckAvailability(spec); !available) return available;
  for (const auto& [name, value] : spec.parameters) {
    Result<void> checked = CheckParameter(spec.engine, spec.engine_version, name, value);
    if (!checked) return checked;
  }
  return {};
}

Result<void> ValidateChange(const GroupView& running, const GroupSpec& wanted) {
  if (running.engine_version_actual.empty()) return {};
  if (VersionNumber(wanted.engine_version) < VersionNumber(running.engine_version_actual)) {
    return Bad("spec.engineVersion " + wanted.engine_version + " is older than the running " +
               running.engine_version_actual + "; an engine cannot be downgraded: set it back.");
  }
  if (running.port != 0 && running.port != wanted.port) {
    return Bad("spec.port cannot be changed; create a new group.");
  }
  return {};
}

}  // namespace regroup::model
