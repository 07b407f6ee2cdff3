#include "operator/render/common.h"

#include "operator/model/group_json.h"
#include "operator/render/objects.h"

namespace regroup::render {

Json Labels(const model::Group& group) {
  return {{kManagedByLabel, kManagedByValue},
          {"app.kubernetes.io/name", "regroup-member"},
          {"app.kubernetes.io/instance", group.meta.name},
          {kGroupLabel, group.meta.name},
          {kGroupUidLabel, group.meta.uid}};
}

Json OwnerReferences(const model::Group& group) {
  return Json::array({{{"apiVersion", std::string(model::kApiGroup) + "/" + model::kApiVersion},
                       {"kind", model::kKind},
                       {"name", group.meta.name},
                       {"uid", group.meta.uid},
                       {"controller", true},
                       {"blockOwnerDeletion", true}}});
}

Json Metadata(const model::Group& group, const std::string& name, bool owned) {
  Json meta{{"name", name}, {"namespace", group.meta.namespace_name}, {"labels", Labels(group)}};
  if (owned) meta["ownerReferences"] = OwnerReferences(group);
  return meta;
}

std::string HashOf(const Json& object) {
  Json copy = object;
  if (copy.contains("metadata") && copy["metadata"].contains("annotations")) {
    copy["metadata"]["annotations"].erase(kHashAnnotation);
    if (copy["metadata"]["annotations"].empty()) copy["metadata"].erase("annotations");
  }
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : copy.dump()) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3ULL;
  }
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

std::string FingerprintOf(const Json& object) {
  std::string print = Str(At(object, {"metadata", "annotations", kHashAnnotation}));
  const Json& data = Child(object, "data");
  if (data.is_object()) print += "/" + HashOf(data);
  return print;
}

void Seal(Json& object) { object["metadata"]["annotations"][kHashAnnotation] = HashOf(object); }

std::string SecretName(const model::GroupMeta& meta) { return meta.name + "-regroup"; }
std::string ConfigMapName(const model::GroupMeta& meta) { return meta.name + "-config"; }
std::string PrimaryServiceName(const model::GroupMeta& meta) { return meta.name + "-primary"; }
std::string ReaderServiceName(const model::GroupMeta& meta) { return meta.name + "-reader"; }
std::string DisruptionBudgetName(const model::GroupMeta& meta, BudgetKind kind) {
  return kind == BudgetKind::kPrimary ? meta.name + "-primary" : meta.name;
}
std::string SliceName(const model::GroupMeta& meta, model::SliceKind kind) {
  return kind == model::SliceKind::kPrimary ? PrimaryServiceName(meta) : ReaderServiceName(meta);
}
std::string VolumeName(const std::string& member_name) { return "data-" + member_name; }

}  // namespace regroup::render
