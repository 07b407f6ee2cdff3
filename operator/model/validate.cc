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

// A DNS label that starts with a letter (RFC 1035), as names of Services must be.
bool IsLabel(const std::string& name) {
  if (name.empty() || name.front() < 'a' || name.front() > 'z' || name.back() == '-') return false;
  for (const char c : name) {
    if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-') return false;
  }
  return true;
}

Result<void> CheckShape(const GroupMeta& meta, const GroupSpec& spec) {
  if (meta.name.size() > kNameMax) {
    return Bad("metadata.name may have at most " + std::to_string(kNameMax) +
               " characters, because Services and pods are named after it; choose a shorter name.");
  }
  if (!IsLabel(meta.name)) {
    return Bad("metadata.name must start with a lowercase letter and hold only lowercase letters, "
               "digits and hyphens, because Services are named after it; choose another name.");
  }
  if (spec.replicas < 0 || spec.replicas > kReplicasMax) {
    return Bad("spec.replicasPerNodeGroup must be from 0 to 5.");
  }
  if (spec.cache_node_type.empty() == !spec.resources.has_value()) {
    return Bad("set exactly one of spec.cacheNodeType and spec.resources.");
  }
  if (spec.port < 1024 || spec.port > 65535) return Bad("spec.port must be from 1024 to 65535.");
  if (spec.engine_version.empty()) {
    return Bad("spec.engineVersion must be set, for example \"7.0\".");
  }
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
  return {};
}

// The times on which proofs rest: a wrong one here is a failover on a false alarm.
Result<void> CheckTimes(const GroupSpec& spec) {
  struct Range {
    const char* field;
    int value, low, high;
  };
  const FailoverSpec& failover = spec.failover;
  for (const Range& range :
       {Range{"failover.writeGuardLagSeconds", failover.write_guard_lag_seconds, 1, 60},
        Range{"failover.unreachableAfterMilliseconds", failover.unreachable_after_ms, 500, 60'000},
        Range{"failover.unresponsiveAfterMilliseconds", failover.unresponsive_after_ms, 1000,
              600'000},
        Range{"failover.unprovenAfterSeconds", failover.unproven_after_seconds, 0, 86'400},
        Range{"failover.coolDownSeconds", failover.cool_down_seconds, 0, 3600},
        Range{"failover.testFailoversPerDay", failover.test_failovers_per_day, 0, 1000},
        Range{"placement.zoneWaitSeconds", spec.placement.zone_wait_seconds, 0, 86'400}}) {
    if (range.value >= range.low && range.value <= range.high) continue;
    return Bad(std::string("spec.") + range.field + " must be from " + std::to_string(range.low) +
               " to " + std::to_string(range.high) + "; set it in that range.");
  }
  return {};
}

}  // namespace

Result<void> ValidateSpec(const GroupMeta& meta, const GroupSpec& spec) {
  if (Result<void> shape = CheckShape(meta, spec); !shape) return shape;
  if (Result<void> available = CheckAvailability(spec); !available) return available;
  if (Result<void> times = CheckTimes(spec); !times) return times;
  if (!spec.primary_cluster_id.empty() && spec.primary_cluster_id.rfind(meta.name + "-", 0) != 0) {
    return Bad("spec.primaryClusterID must name a member of this group, for example " +
               MemberName(meta, 2) + ".");
  }
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
