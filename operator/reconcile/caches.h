// What the watches brought, as pruned structs, with our own writes visible at once: the input of
// observe. One store a kind; a key of the work queue is "namespace/name" of the group.
// Thread: any; each store has its own lock. Lifetime: outlives the reflectors and the reconciler.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "operator/base/json.h"
#include "operator/kube/api.h"
#include "operator/kube/listed.h"
#include "operator/model/replication_group.h"
#include "operator/render/objects.h"
#include "operator/render/observe_objects.h"
#include "operator/runtime/store.h"

namespace regroup::reconcile {

enum class Watched {
  kGroup, kPod, kSlice, kNode, kSecret, kConfigMap, kService, kBudget, kVolume,
};
inline constexpr Watched kAllWatched[] = {
    Watched::kGroup,  Watched::kPod,       Watched::kSlice,   Watched::kNode,  Watched::kSecret,
    Watched::kConfigMap, Watched::kService, Watched::kBudget, Watched::kVolume};

// How each kind is reached, and by which labels it is watched (never more than is ours, but Nodes).
struct WatchedType {
  kube::ResourceType type;
  std::string label_selector;
};
WatchedType TypeOf(Watched kind);

struct StoredPod {
  model::PodView view;
  std::string group_uid;  // rule one-group: pods of an earlier group of the same name are not ours
  std::string passwords;  // render::PasswordsMark of those it was born with; "": not known
};
struct StoredSlice {
  std::string name;
  model::SliceView view;
  std::string controller_uid;
};
struct StoredSecret {
  render::OwnedObject object;
  render::GroupSecrets secrets;
};
struct StoredVolume {
  model::VolumeView view;
  std::string group_uid;
};

class Caches {
 public:
  // `read_your_writes`: what Keep() gets is visible at once. Only the simulator switches it off.
  explicit Caches(bool read_your_writes = true) : read_your_writes_(read_your_writes) {}

  // Each answers with the group keys whose picture changed. `now` dates a pod's first sight.
  std::vector<std::string> Replace(Watched kind, const kube::ListedSet& set, MonoMs now);
  std::vector<std::string> Put(Watched kind, const Json& object, MonoMs now);
  std::vector<std::string> Remove(Watched kind, const Json& object, MonoMs now);
  // The answer of our own write or live read: the watch may bring it much later.
  void Keep(Watched kind, const Json& object, MonoMs now);
  void KeepGroup(const model::Group& group, MonoMs now);
  // A live read found a pod or a volume gone.
  void KeepGone(Watched kind, const std::string& key, const std::string& uid, MonoMs now);

  // The API server's store was set back to an older state: nothing here can be relied on until a
  // list of each kind that was asked for after `now` has come.
  void Doubt(MonoMs now);
  bool Reliable() const;

  std::shared_ptr<const model::Group> Group(const std::string& key) const {
    return groups_.Get(key);
  }
  std::vector<std::string> GroupKeys() const { return groups_.Keys(); }
  std::vector<std::shared_ptr<const StoredPod>> Pods(const std::string& key) const {
    return pods_.ByGroup(key);
  }
  // The last that was seen of a pod whose object is gone; nothing where that is forgotten.
  std::optional<model::PodView> Departed(const std::string& uid) const;
  // UIDs of the group's pods whose objects went since then, as this process saw it.
  std::vector<std::string> DepartedSince(const std::string& group_uid, MonoMs since) const;
  std::shared_ptr<const StoredSlice> Slice(const std::string& object_key) const {
    return slices_.Get(object_key);
  }
  std::vector<std::shared_ptr<const render::NodeFacts>> Nodes() const { return nodes_.All(); }
  std::shared_ptr<const StoredSecret> Secret(const std::string& object_key) const {
    return secrets_.Get(object_key);
  }
  // ConfigMap, Service or PodDisruptionBudget.
  std::shared_ptr<const render::OwnedObject> Owned(Watched kind,
                                                   const std::string& object_key) const;
  std::vector<std::shared_ptr<const StoredVolume>> Volumes(const std::string& key) const {
    return volumes_.ByGroup(key);
  }

 private:
  std::vector<std::string> Touched(Watched kind, const std::string& group) const;
  std::shared_ptr<const StoredPod> ReadPod(const Json& object, MonoMs now) const;
  void KeepDeparted(const std::string& key, MonoMs now);
  // True where this list ends the doubt about the last kind.
  bool EndDoubt(Watched kind, MonoMs asked_at);

  runtime::Store<model::Group> groups_;
  runtime::Store<StoredPod, runtime::Index::kByGroup> pods_;
  runtime::Store<StoredSlice> slices_;
  runtime::Store<render::NodeFacts> nodes_;
  runtime::Store<StoredSecret> secrets_;
  runtime::Store<render::OwnedObject> config_maps_;
  runtime::Store<render::OwnedObject> services_;
  runtime::Store<render::OwnedObject> budgets_;
  runtime::Store<StoredVolume, runtime::Index::kByGroup> volumes_;
  const bool read_your_writes_;
  mutable std::mutex doubt_mutex_;
  std::set<Watched> doubted_;
  MonoMs doubted_at_ = 0;
  mutable std::mutex departed_mutex_;
  struct Gone {
    model::PodView view;
    std::string group_uid;
    MonoMs at = 0;
  };
  std::map<std::string, Gone> departed_;  // by UID
  std::vector<std::string> departed_order_;
};

}  // namespace regroup::reconcile
