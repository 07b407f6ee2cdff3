// What a watch brings, as pruned structs: no JSON tree is kept (45 KB a pod).
// Thread: pure functions.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "operator/base/json.h"
#include "operator/model/observed.h"

namespace regroup::render {

// Everything but first_seen.
model::PodView ParsePod(const Json& pod);

// "namespace/<group label>"; empty where the object is no group's.
std::string GroupKeyOf(const Json& object);

struct Taint {
  std::string key;
  std::string value;
  std::string effect;
  bool operator==(const Taint&) const = default;
};

struct NodeFacts {
  std::string name;
  std::map<std::string, std::string> labels;
  bool ready = false;
  bool unschedulable = false;
  std::vector<Taint> taints;
  bool operator==(const NodeFacts&) const = default;
};
NodeFacts ParseNode(const Json& node);
// The node as one group sees it: its zone by the group's topology key, its taints by its
// tolerations.
model::NodeView ViewOf(const NodeFacts& node, const model::GroupSpec& spec);

model::SliceView ParseSlice(const Json& slice);

struct OwnedObject {
  std::string name;
  std::string uid;
  std::string resource_version;
  std::string fingerprint;
  std::string controller_uid;  // of the controller owner reference
  std::string group_uid;       // the label
};
OwnedObject ParseOwned(const Json& object);
// `wanted` is the fingerprint of the object as rendered now.
model::OwnedState StateOf(const OwnedObject* stored, const std::string& wanted,
                          const std::string& group_uid);

model::VolumeView ParseVolume(const Json& volume);

}  // namespace regroup::render
