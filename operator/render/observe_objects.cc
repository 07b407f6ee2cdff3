#include "operator/render/observe_objects.h"

#include <algorithm>

#include "operator/render/objects.h"

namespace regroup::render {

namespace {

bool ConditionIs(const Json& status, const char* type, const char* value) {
  const Json& conditions = Child(status, "conditions");
  if (!conditions.is_array()) return false;
  for (const Json& condition : conditions) {
    if (Str(Child(condition, "type")) == type) return Str(Child(condition, "status")) == value;
  }
  return false;
}

bool Unschedulable(const Json& status) {
  const Json& conditions = Child(status, "conditions");
  if (!conditions.is_array()) return false;
  for (const Json& condition : conditions) {
    if (Str(Child(condition, "type")) == "PodScheduled") {
      return Str(Child(condition, "reason")) == "Unschedulable";
    }
  }
  return false;
}

void ParseContainer(const Json& status, model::PodView& pod) {
  const Json& list = Child(status, "containerStatuses");
  if (!list.is_array()) return;
  for (const Json& container : list) {
    if (Str(Child(container, "name")) != kEngineContainer) continue;
    pod.container_id = Str(Child(container, "containerID"));
    pod.restart_count = static_cast<int>(Int(Child(container, "restartCount")));
    const Json& state = Child(container, "state");
    pod.running = Child(state, "running").is_object();
    pod.started_wall_ms = ParseRfc3339(Str(At(state, {"running", "startedAt"})));
    pod.waiting_reason = Str(At(state, {"waiting", "reason"}));
    pod.waiting_message = Str(At(state, {"waiting", "message"}));
    for (const Json* ended :
         {&At(container, {"lastState", "terminated"}), &Child(state, "terminated")}) {
      if (!ended->is_object()) continue;
      pod.terminated_container_id = Str(Child(*ended, "containerID"));
      pod.terminated_reason = Str(Child(*ended, "reason"));
    }
  }
}

bool Tolerates(const model::GroupSpec& spec, const Taint& taint) {
  for (const model::Toleration& item : spec.placement.tolerations) {
    if (!item.effect.empty() && item.effect != taint.effect) continue;
    if (item.key.empty() && item.op == "Exists") return true;
    if (item.key != taint.key) continue;
    if (item.op == "Exists" || item.value == taint.value) return true;
  }
  return false;
}

// The marks of cluster-autoscaler and Karpenter on a node that they are about to remove.
bool RemovesNode(const std::string& taint_key) {
  return taint_key == "ToBeDeletedByClusterAutoscaler" || taint_key == "karpenter.sh/disrupted" ||
         taint_key == "karpenter.sh/disruption";
}

}  // namespace

std::string GroupKeyOf(const Json& object) {
  const std::string name = Str(Child(At(object, {"metadata", "labels"}), kGroupLabel));
  return name.empty() ? "" : Str(At(object, {"metadata", "namespace"})) + "/" + name;
}

model::PodView ParsePod(const Json& object) {
  model::PodView pod;
  const Json& meta = Child(object, "metadata");
  const Json& spec = Child(object, "spec");
  const Json& status = Child(object, "status");
  pod.name = Str(Child(meta, "name"));
  pod.uid = Str(Child(meta, "uid"));
  pod.resource_version = Str(Child(meta, "resourceVersion"));
  pod.deleting = Child(meta, "deletionTimestamp").is_string();
  pod.role_label = Str(Child(Child(meta, "labels"), kRoleLabel));
  pod.zone = Str(Child(Child(meta, "annotations"), kZoneAnnotation));
  pod.spec_hash = Str(Child(Child(meta, "annotations"), kHashAnnotation));
  const std::string born = Str(Child(Child(meta, "annotations"), kBornWithAnnotation));
  if (Result<Json> parsed = ParseJson(born); parsed && parsed->is_object()) {
    std::map<std::string, std::string> born_with;
    for (const auto& [name, value] : parsed->items()) born_with[name] = Str(value);
    pod.born_with = model::Settings(std::move(born_with));
  }
  pod.node = Str(Child(spec, "nodeName"));
  pod.scheduled = !pod.node.empty();
  const Json& containers = Child(spec, "containers");
  if (containers.is_array() && !containers.empty()) {
    pod.image = Str(Child(containers.front(), "image"));
  }
  pod.ip = Str(Child(status, "podIP"));
  const std::string phase = Str(Child(status, "phase"));
  pod.failed = phase == "Failed" || phase == "Succeeded";
  pod.ready = ConditionIs(status, "Ready", "True");
  pod.unschedulable = Unschedulable(status);
  ParseContainer(status, pod);
  return pod;
}

NodeFacts ParseNode(const Json& object) {
  NodeFacts node;
  node.name = Str(At(object, {"metadata", "name"}));
  const Json& labels = At(object, {"metadata", "labels"});
  if (labels.is_object()) {
    for (const auto& [key, value] : labels.items()) node.labels[key] = Str(value);
  }
  node.ready = ConditionIs(Child(object, "status"), "Ready", "True");
  node.unschedulable = Bool(At(object, {"spec", "unschedulable"}));
  const Json& taints = At(object, {"spec", "taints"});
  if (taints.is_array()) {
    for (const Json& taint : taints) {
      node.taints.push_back({Str(Child(taint, "key")), Str(Child(taint, "value")),
                             Str(Child(taint, "effect"))});
    }
  }
  return node;
}

model::NodeView ViewOf(const NodeFacts& node, const model::GroupSpec& spec) {
  model::NodeView view;
  view.name = node.name;
  const auto zone = node.labels.find(spec.placement.zone_topology_key);
  if (zone != node.labels.end()) view.zone = zone->second;
  view.ready = node.ready;
  view.schedulable = !node.unschedulable;
  view.draining = node.unschedulable;
  for (const auto& [key, value] : spec.placement.node_selector) {
    const auto label = node.labels.find(key);
    if (label == node.labels.end() || label->second != value) view.schedulable = false;
  }
  for (const Taint& taint : node.taints) {
    if (taint.key == "node.kubernetes.io/out-of-service") view.out_of_service = true;
    if (RemovesNode(taint.key)) view.draining = true;
    if (taint.effect == "PreferNoSchedule" || Tolerates(spec, taint)) continue;
    view.schedulable = false;
  }
  return view;
}

model::SliceView ParseSlice(const Json& object) {
  model::SliceView slice;
  slice.exists = true;
  slice.resource_version = Str(At(object, {"metadata", "resourceVersion"}));
  const std::string epoch =
      Str(Child(At(object, {"metadata", "annotations"}), kEpochAnnotation));
  slice.epoch = std::strtoll(epoch.c_str(), nullptr, 10);
  const Json& endpoints = Child(object, "endpoints");
  if (endpoints.is_array()) {
    for (const Json& item : endpoints) {
      const Json& addresses = Child(item, "addresses");
      slice.endpoints.push_back(
          {Str(At(item, {"targetRef", "uid"})), Str(At(item, {"targetRef", "name"})),
           addresses.is_array() && !addresses.empty() ? Str(addresses.front()) : "",
           Str(Child(item, "nodeName")), Str(Child(item, "zone"))});
    }
  }
  std::sort(slice.endpoints.begin(), slice.endpoints.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  return slice;
}

OwnedObject ParseOwned(const Json& object) {
  OwnedObject owned;
  const Json& meta = Child(object, "metadata");
  owned.name = Str(Child(meta, "name"));
  owned.uid = Str(Child(meta, "uid"));
  owned.resource_version = Str(Child(meta, "resourceVersion"));
  owned.fingerprint = FingerprintOf(object);
  owned.group_uid = Str(Child(Child(meta, "labels"), kGroupUidLabel));
  const Json& owners = Child(meta, "ownerReferences");
  if (owners.is_array()) {
    for (const Json& owner : owners) {
      if (Bool(Child(owner, "controller"))) owned.controller_uid = Str(Child(owner, "uid"));
    }
  }
  return owned;
}

model::OwnedState StateOf(const OwnedObject* stored, const std::string& wanted,
                          const std::string& group_uid) {
  if (stored == nullptr) return model::OwnedState::kAbsent;
  if (stored->controller_uid != group_uid) return model::OwnedState::kForeign;
  return stored->fingerprint == wanted ? model::OwnedState::kCurrent
                                       : model::OwnedState::kOutdated;
}

model::VolumeView ParseVolume(const Json& object) {
  model::VolumeView volume;
  const Json& meta = Child(object, "metadata");
  volume.name = Str(Child(meta, "name"));
  volume.uid = Str(Child(meta, "uid"));
  volume.resource_version = Str(Child(meta, "resourceVersion"));
  volume.deleting = Child(meta, "deletionTimestamp").is_string();
  if (volume.name.rfind("data-", 0) == 0) volume.member_name = volume.name.substr(5);
  volume.bound = Str(At(object, {"status", "phase"})) == "Bound";
  volume.node = Str(At(meta, {"annotations", "volume.kubernetes.io/selected-node"}));
  return volume;
}

}  // namespace regroup::render
