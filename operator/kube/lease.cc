#include "operator/kube/lease.h"

namespace regroup::kube {

namespace {

const ResourceType kLeases{"coordination.k8s.io", "v1", "leases", true};

LeaseRecord Parse(const Json& object) {
  LeaseRecord record;
  const Json& spec = Child(object, "spec");
  record.holder = Str(Child(spec, "holderIdentity"));
  record.duration_seconds = static_cast<int>(Int(Child(spec, "leaseDurationSeconds")));
  record.acquire_wall_ms = ParseRfc3339(Str(Child(spec, "acquireTime")));
  record.renew_wall_ms = ParseRfc3339(Str(Child(spec, "renewTime")));
  record.transitions = static_cast<int>(Int(Child(spec, "leaseTransitions")));
  record.resource_version = Str(At(object, {"metadata", "resourceVersion"}));
  return record;
}

Json Render(const std::string& namespace_name, const std::string& name,
            const LeaseRecord& record) {
  Json object{{"apiVersion", "coordination.k8s.io/v1"}, {"kind", "Lease"}};
  object["metadata"] = {{"namespace", namespace_name}, {"name", name}};
  if (!record.resource_version.empty()) {
    object["metadata"]["resourceVersion"] = record.resource_version;
  }
  object["spec"] = {{"leaseDurationSeconds", record.duration_seconds},
                    {"acquireTime", FormatRfc3339Micro(record.acquire_wall_ms)},
                    {"renewTime", FormatRfc3339Micro(record.renew_wall_ms)},
                    {"leaseTransitions", record.transitions}};
  if (!record.holder.empty()) object["spec"]["holderIdentity"] = record.holder;
  return object;
}

Result<LeaseRecord> Parsed(const Result<Json>& object) {
  if (!object) return tl::unexpected<Error>(object.error());
  return Parse(*object);
}

}  // namespace

Result<LeaseRecord> ReadLease(Api& api, const std::string& namespace_name, const std::string& name,
                              std::int64_t timeout_ms) {
  return Parsed(api.Get({kLeases, namespace_name, name}, timeout_ms));
}

Result<LeaseRecord> CreateLease(Api& api, const std::string& namespace_name,
                                const std::string& name, const LeaseRecord& record,
                                std::int64_t timeout_ms) {
  return Parsed(api.Create(kLeases, namespace_name, Render(namespace_name, name, record),
                           timeout_ms));
}

Result<LeaseRecord> ReplaceLease(Api& api, const std::string& namespace_name,
                                 const std::string& name, const LeaseRecord& record,
                                 std::int64_t timeout_ms) {
  return Parsed(api.Replace({kLeases, namespace_name, name}, "",
                            Render(namespace_name, name, record), timeout_ms));
}

}  // namespace regroup::kube
