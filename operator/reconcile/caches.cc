#include "operator/reconcile/caches.h"

#include <algorithm>
#include <cstdlib>
#include <set>

#include "operator/model/group_json.h"

namespace regroup::reconcile {

namespace {

constexpr std::size_t kDepartedMax = 1024;

std::string ObjectKey(const Json& object) {
  return Str(At(object, {"metadata", "namespace"})) + "/" + Str(At(object, {"metadata", "name"}));
}

template <typename T>
runtime::Item<T> ItemOf(const Json& object, const std::string& group,
                        std::shared_ptr<const T> value) {
  runtime::Item<T> item;
  item.key = ObjectKey(object);
  item.uid = Str(At(object, {"metadata", "uid"}));
  item.version =
      std::strtoll(Str(At(object, {"metadata", "resourceVersion"})).c_str(), nullptr, 10);
  item.group = group;
  item.value = std::move(value);
  return item;
}

std::shared_ptr<const StoredSlice> ReadSlice(const Json& object) {
  auto slice = std::make_shared<StoredSlice>();
  const render::OwnedObject owned = render::ParseOwned(object);
  slice->name = owned.name;
  slice->view = render::ParseSlice(object);
  slice->controller_uid = owned.controller_uid;
  return slice;
}

std::shared_ptr<const StoredSecret> ReadSecret(const Json& object) {
  auto secret = std::make_shared<StoredSecret>();
  secret->object = render::ParseOwned(object);
  secret->secrets = render::ParseSecret(object);
  return secret;
}

std::shared_ptr<const StoredVolume> ReadVolume(const Json& object) {
  auto volume = std::make_shared<StoredVolume>();
  volume->view = render::ParseVolume(object);
  volume->group_uid = render::ParseOwned(object).group_uid;
  return volume;
}

std::shared_ptr<const render::OwnedObject> ReadOwned(const Json& object) {
  return std::make_shared<render::OwnedObject>(render::ParseOwned(object));
}

// Calls `use(store, read)` with the store of `kind` and how its objects are read.
template <typename T, typename Read>
std::vector<std::string> ReplaceIn(runtime::Store<T>& store, const kube::Listed& objects,
                                   std::int64_t version, bool by_own_name, Read read) {
  std::vector<runtime::Item<T>> items;
  items.reserve(objects.size());
  objects.ForEach([&](const Json& object) {
    const std::string group = by_own_name ? ObjectKey(object) : render::GroupKeyOf(object);
    items.push_back(ItemOf<T>(object, group, read(object)));
  });
  return store.Replace(std::move(items), version);
}

}  // namespace

WatchedType TypeOf(Watched kind) {
  const std::string ours = std::string(render::kManagedByLabel) + "=" + render::kManagedByValue;
  switch (kind) {
    case Watched::kGroup:
      return {{model::kApiGroup, model::kApiVersion, model::kResource, true}, ""};
    case Watched::kPod: return {{"", "v1", "pods", true}, ours};
    case Watched::kSlice: return {{"discovery.k8s.io", "v1", "endpointslices", true}, ours};
    case Watched::kNode: return {{"", "v1", "nodes", false}, ""};
    case Watched::kSecret: return {{"", "v1", "secrets", true}, ours};
    case Watched::kConfigMap: return {{"", "v1", "configmaps", true}, ours};
    case Watched::kService: return {{"", "v1", "services", true}, ours};
    case Watched::kBudget: return {{"policy", "v1", "poddisruptionbudgets", true}, ours};
    case Watched::kVolume: return {{"", "v1", "persistentvolumeclaims", true}, ours};
  }
  return {};
}

std::vector<std::string> Caches::Touched(Watched kind, const std::string& group) const {
  if (kind == Watched::kNode) return groups_.Keys();
  if (group.empty()) return {};
  return {group};
}

std::shared_ptr<const StoredPod> Caches::ReadPod(const Json& object, MonoMs now) const {
  auto pod = std::make_shared<StoredPod>();
  pod->view = render::ParsePod(object);
  pod->group_uid = render::ParseOwned(object).group_uid;
  pod->view.first_seen = now;
  const std::shared_ptr<const StoredPod> known = pods_.Get(ObjectKey(object));
  if (known != nullptr && known->view.uid == pod->view.uid) {
    pod->view.first_seen = known->view.first_seen;
  }
  return pod;
}

std::vector<std::string> Caches::Replace(Watched kind, const kube::Listed& objects,
                                         const std::string& list_version, MonoMs now) {
  const std::int64_t version = std::strtoll(list_version.c_str(), nullptr, 10);
  std::vector<std::string> touched;
  switch (kind) {
    case Watched::kGroup:
      touched = ReplaceIn(groups_, objects, version, true, [](const Json& object) {
        return std::make_shared<const model::Group>(model::ParseGroup(object));
      });
      break;
    case Watched::kPod:
      touched = ReplaceIn(pods_, objects, version, false,
                          [&](const Json& object) { return ReadPod(object, now); });
      break;
    case Watched::kSlice:
      touched = ReplaceIn(slices_, objects, version, false, ReadSlice);
      break;
    case Watched::kNode:
      ReplaceIn(nodes_, objects, version, true, [](const Json& object) {
        return std::make_shared<const render::NodeFacts>(render::ParseNode(object));
      });
      return groups_.Keys();
    case Watched::kSecret:
      touched = ReplaceIn(secrets_, objects, version, false, ReadSecret);
      break;
    case Watched::kConfigMap:
      touched = ReplaceIn(config_maps_, objects, version, false, ReadOwned);
      break;
    case Watched::kService:
      touched = ReplaceIn(services_, objects, version, false, ReadOwned);
      break;
    case Watched::kBudget:
      touched = ReplaceIn(budgets_, objects, version, false, ReadOwned);
      break;
    case Watched::kVolume:
      touched = ReplaceIn(volumes_, objects, version, false, ReadVolume);
      break;
  }
  std::erase(touched, std::string());
  return touched;
}

std::vector<std::string> Caches::Put(Watched kind, const Json& object, MonoMs now) {
  const std::string group =
      kind == Watched::kGroup ? ObjectKey(object) : render::GroupKeyOf(object);
  bool news = false;
  switch (kind) {
    case Watched::kGroup:
      news = groups_.Put(ItemOf<model::Group>(
          object, group, std::make_shared<const model::Group>(model::ParseGroup(object))));
      break;
    case Watched::kPod:
      news = pods_.Put(ItemOf<StoredPod>(object, group, ReadPod(object, now)));
      break;
    case Watched::kSlice:
      news = slices_.Put(ItemOf<StoredSlice>(object, group, ReadSlice(object)));
      break;
    case Watched::kNode: {
      // A kubelet's status report changes nothing that a decision reads, nearly always.
      const auto next = std::make_shared<const render::NodeFacts>(render::ParseNode(object));
      const auto known = nodes_.Get(ObjectKey(object));
      const bool same = known != nullptr && *known == *next;
      news = nodes_.Put(ItemOf<render::NodeFacts>(object, "", next)) && !same;
      break;
    }
    case Watched::kSecret:
      news = secrets_.Put(ItemOf<StoredSecret>(object, group, ReadSecret(object)));
      break;
    case Watched::kConfigMap:
      news = config_maps_.Put(ItemOf<render::OwnedObject>(object, group, ReadOwned(object)));
      break;
    case Watched::kService:
      news = services_.Put(ItemOf<render::OwnedObject>(object, group, ReadOwned(object)));
      break;
    case Watched::kBudget:
      news = budgets_.Put(ItemOf<render::OwnedObject>(object, group, ReadOwned(object)));
      break;
    case Watched::kVolume:
      news = volumes_.Put(ItemOf<StoredVolume>(object, group, ReadVolume(object)));
      break;
  }
  if (!news) return {};
  return Touched(kind, group);
}

std::vector<std::string> Caches::Remove(Watched kind, const Json& object, MonoMs now) {
  const std::string key = ObjectKey(object);
  const std::string uid = Str(At(object, {"metadata", "uid"}));
  const std::int64_t version =
      std::strtoll(Str(At(object, {"metadata", "resourceVersion"})).c_str(), nullptr, 10);
  const std::string group =
      kind == Watched::kGroup ? ObjectKey(object) : render::GroupKeyOf(object);
  switch (kind) {
    case Watched::kGroup: groups_.Remove(key, uid, version); break;
    case Watched::kPod:
      // The last event of a pod carries the kubelet's last word on its containers.
      pods_.Put(ItemOf<StoredPod>(object, group, ReadPod(object, now)));
      KeepDeparted(key);
      pods_.Remove(key, uid, version);
      break;
    case Watched::kSlice: slices_.Remove(key, uid, version); break;
    case Watched::kNode: nodes_.Remove(key, uid, version); break;
    case Watched::kSecret: secrets_.Remove(key, uid, version); break;
    case Watched::kConfigMap: config_maps_.Remove(key, uid, version); break;
    case Watched::kService: services_.Remove(key, uid, version); break;
    case Watched::kBudget: budgets_.Remove(key, uid, version); break;
    case Watched::kVolume: volumes_.Remove(key, uid, version); break;
  }
  return Touched(kind, group);
}

void Caches::KeepDeparted(const std::string& key) {
  const std::shared_ptr<const StoredPod> pod = pods_.Get(key);
  if (pod == nullptr) return;
  std::lock_guard lock(departed_mutex_);
  if (departed_.insert_or_assign(pod->view.uid, pod->view).second) {
    departed_order_.push_back(pod->view.uid);
  }
  if (departed_order_.size() > kDepartedMax) {
    departed_.erase(departed_order_.front());
    departed_order_.erase(departed_order_.begin());
  }
}

std::optional<model::PodView> Caches::Departed(const std::string& uid) const {
  std::lock_guard lock(departed_mutex_);
  const auto found = departed_.find(uid);
  if (found == departed_.end()) return std::nullopt;
  return found->second;
}

std::shared_ptr<const render::OwnedObject> Caches::Owned(Watched kind,
                                                         const std::string& object_key) const {
  switch (kind) {
    case Watched::kConfigMap: return config_maps_.Get(object_key);
    case Watched::kService: return services_.Get(object_key);
    case Watched::kBudget: return budgets_.Get(object_key);
    default: return nullptr;
  }
}

}  // namespace regroup::reconcile
