#include "operator/reconcile/record.h"

#include <cstdlib>

#include "operator/model/group_json.h"

namespace regroup::reconcile {

namespace {

std::int64_t VersionOf(const model::GroupMeta& meta) {
  return std::strtoll(meta.resource_version.c_str(), nullptr, 10);
}

}  // namespace

kube::ObjectRef RefOf(const model::GroupMeta& meta) {
  return {TypeOf(Watched::kGroup).type, meta.namespace_name, meta.name};
}

Result<model::Group> ReadGroup(const Ports& ports, const model::GroupMeta& meta) {
  Result<Json> object = ports.api->Get(RefOf(meta), kApiTimeoutMs);
  if (!object) return tl::unexpected<Error>(object.error());
  model::Group group = model::ParseGroup(*object);
  ports.caches->KeepGroup(group, ports.clock->Now());
  // A live read below a version that was known before it: the API server's store was set back.
  if (VersionOf(group.meta) < VersionOf(meta)) {
    if (ports.rewound) ports.rewound();
    return Fail(ErrorCode::kUnavailable, "the API server shows an older state than before");
  }
  if (group.meta.uid != meta.uid) {
    return Fail(ErrorCode::kNotFound, "another group has that name now");
  }
  return group;
}

Result<model::Group> WriteStatus(const Ports& ports, const model::Group& base,
                                 const model::GroupView& view,
                                 const model::NodeGroupRecord& record) {
  Json object{{"apiVersion", std::string(model::kApiGroup) + "/" + model::kApiVersion},
              {"kind", model::kKind},
              {"metadata",
               {{"name", base.meta.name},
                {"namespace", base.meta.namespace_name},
                {"uid", base.meta.uid},
                {"resourceVersion", base.meta.resource_version}}},
              {"status", model::RenderStatus(view, record)}};
  Result<Json> stored = ports.api->Replace(RefOf(base.meta), "status", object, kApiTimeoutMs);
  if (stored) {
    model::Group group = model::ParseGroup(*stored);
    ports.caches->KeepGroup(group, ports.clock->Now());
    return group;
  }
  const Error error = stored.error();
  if (!IsUnknownOutcome(error) && error.code != ErrorCode::kConflict) {
    return tl::unexpected<Error>(error);
  }
  Result<model::Group> live = ReadGroup(ports, base.meta);
  if (!live) return tl::unexpected<Error>(IsUnknownOutcome(error) ? error : live.error());
  if (IsUnknownOutcome(error) && live->record == record) return live;
  return Fail(ErrorCode::kConflict, "the group's status was changed by somebody else");
}

}  // namespace regroup::reconcile
