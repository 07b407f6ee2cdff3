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

// What names one state of an object.
struct Identity {
  std::string key;
  std::string uid;
  std::int64_t version = 0;
  std::string group;  // key of the group it belongs to
};

std::int64_t NumberOf(const std::string& version) {
  return std::strtoll(version.c_str(), nullptr, 10);
}

Identity IdentityOf(Watched kind, const Json& object) {
  Identity identity;
  identity.key = ObjectKey(object);
  identity.uid = Str(At(object, {"metadata", "uid"}));
  identity.version = NumberOf(Str(At(object, {"metadata", "resourceVersion"})));
  if (kind == Watched::kGroup) identity.group = identity.key;
  else if (kind != Watched::kNode) identity.group = render::GroupKeyOf(object);
  return identity;
}

template <typename T>
runtime::Item<T> ItemOf(const Identity& identity, std::shared_ptr<const T> value, MonoMs now) {
  return {identity.key, identity.uid, identity.version, identity.group, std::move(value), now};
}

// Takes an object in, and reads it only where it is news.
template <typename T, runtime::Index kIndex, typename Read>
bool PutIn(runtime::Store<T, kIndex>& store, const Identity& identity, MonoMs now, Read read) {
  if (!store.Wants(identity.key, identity.uid, identity.version)) return false;
  return store.Put(ItemOf<T>(identity, read(), now));
}

std::shared_ptr<const model::Group> ReadGroupObject(const Json& object) {
  return std::make_shared<const model::Group>(model::ParseGroup(object));
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

// Without what the key tells, and what only a new object is asked for.
std::shared_ptr<const render::OwnedObject> ReadOwned(const Json& object) {
  auto owned = std::make_shared<render::OwnedObject>(render::ParseOwned(object));
  for (std::string* known : {&owned->name, &owned->group_uid}) std::string().swap(*known);
  return owned;
}

template <typename T, runtime::Index kIndex, typename Read>
std::vector<std::string> ReplaceIn(runtime::Store<T, kIndex>& store, const kube::ListedSet& set,
                                   MonoMs now, Watched kind, Read read) {
  std::vector<runtime::Item<T>> items;
  items.reserve(set.objects.size());
  set.objects.ForEach([&](const Json& object) {
    items.push_back(ItemOf<T>(IdentityOf(kind, object), read(object), now));
  });
  return store.Replace(std::move(items), NumberOf(set.resource_version), set.asked_at);
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
  pod->passwords = Str(At(object, {"metadata", "annotations", render::kPasswordsAnnotation}));
  pod->view.first_seen = now;
  const std::shared_ptr<const StoredPod> known = pods_.Get(ObjectKey(object));
  if (known != nullptr && known->view.uid == pod->view.uid) {
    pod->view.first_seen = known->view.first_seen;
  }
  return pod;
}

std::vector<std::string> Caches::Replace(Watched kind, const kube::ListedSet& set, MonoMs now) {
  std::vector<std::string> touched;
  switch (kind) {
    case Watched::kGroup:
      touched = ReplaceIn(groups_, set, now, kind, ReadGroupObject);
      break;
    case Watched::kPod:
      touched = ReplaceIn(pods_, set, now, kind,
                          [&](const Json& object) { return ReadPod(object, now); });
      break;
    case Watched::kSlice:
      touched = ReplaceIn(slices_, set, now, kind, ReadSlice);
      break;
    case Watched::kNode:
      ReplaceIn(nodes_, set, now, kind, [](const Json& object) {
        return std::make_shared<const render::NodeFacts>(render::ParseNode(object));
      });
      touched = groups_.Keys();
      break;
    case Watched::kSecret:
      touched = ReplaceIn(secrets_, set, now, kind, ReadSecret);
      break;
    case Watched::kConfigMap:
      touched = ReplaceIn(config_maps_, set, now, kind, ReadOwned);
      break;
    case Watched::kService:
      touched = ReplaceIn(services_, set, now, kind, ReadOwned);
      break;
    case Watched::kBudget:
      touched = ReplaceIn(budgets_, set, now, kind, ReadOwned);
      break;
    case Watched::kVolume:
      touched = ReplaceIn(volumes_, set, now, kind, ReadVolume);
      break;
  }
  if (EndDoubt(kind, set.asked_at)) return groups_.Keys();
  std::erase(touched, std::string());
  return touched;
}

namespace {

bool PutNode(runtime::Store<render::NodeFacts>& nodes, const Identity& identity,
             const Json& object, MonoMs now) {
  // A kubelet's status report changes nothing that a decision reads, nearly always.
  const auto next = std::make_shared<const render::NodeFacts>(render::ParseNode(object));
  const auto known = nodes.Get(identity.key);
  const bool same = known != nullptr && *known == *next;
  return nodes.Put(ItemOf<render::NodeFacts>(identity, next, now)) && !same;
}

}  // namespace

std::vector<std::string> Caches::Put(Watched kind, const Json& object, MonoMs now) {
  const Identity identity = IdentityOf(kind, object);
  const auto put = [&](auto& store, const auto& read) {
    return PutIn(store, identity, now, [&] { return read(object); });
  };
  bool news = false;
  switch (kind) {
    case Watched::kGroup: news = put(groups_, ReadGroupObject); break;
    case Watched::kPod:
      news = put(pods_, [&](const Json& pod) { return ReadPod(pod, now); });
      break;
    case Watched::kSlice: news = put(slices_, ReadSlice); break;
    case Watched::kNode: news = PutNode(nodes_, identity, object, now); break;
    case Watched::kSecret: news = put(secrets_, ReadSecret); break;
    case Watched::kConfigMap: news = put(config_maps_, ReadOwned); break;
    case Watched::kService: news = put(services_, ReadOwned); break;
    case Watched::kBudget: news = put(budgets_, ReadOwned); break;
    case Watched::kVolume: news = put(volumes_, ReadVolume); break;
  }
  if (!news) return {};
  return Touched(kind, identity.group);
}

std::vector<std::string> Caches::Remove(Watched kind, const Json& object, MonoMs now) {
  const Identity identity = IdentityOf(kind, object);
  const std::string& key = identity.key;
  const std::string& uid = identity.uid;
  switch (kind) {
    case Watched::kGroup: groups_.Remove(key, uid, now); break;
    case Watched::kPod:
      // The last event of a pod carries the kubelet's last word on its containers.
      PutIn(pods_, identity, now, [&] { return ReadPod(object, now); });
      KeepDeparted(key, now);
      pods_.Remove(key, uid, now);
      break;
    case Watched::kSlice: slices_.Remove(key, uid, now); break;
    case Watched::kNode: nodes_.Remove(key, uid, now); break;
    case Watched::kSecret: secrets_.Remove(key, uid, now); break;
    case Watched::kConfigMap: config_maps_.Remove(key, uid, now); break;
    case Watched::kService: services_.Remove(key, uid, now); break;
    case Watched::kBudget: budgets_.Remove(key, uid, now); break;
    case Watched::kVolume: volumes_.Remove(key, uid, now); break;
  }
  return Touched(kind, identity.group);
}

void Caches::KeepDeparted(const std::string& key, MonoMs now) {
  const std::shared_ptr<const StoredPod> pod = pods_.Get(key);
  if (pod == nullptr) return;
  std::lock_guard lock(departed_mutex_);
  const Gone gone{pod->view, pod->group_uid, now};
  if (departed_.insert_or_assign(pod->view.uid, gone).second) {
    departed_order_.push_back(pod->view.uid);
  }
  if (departed_order_.size() > kDepartedMax) {
    departed_.erase(departed_order_.front());
    departed_order_.erase(departed_order_.begin());
  }
}

void Caches::Keep(Watched kind, const Json& object, MonoMs now) {
  if (read_your_writes_) Put(kind, object, now);
}

void Caches::KeepGroup(const model::Group& group, MonoMs now) {
  if (!read_your_writes_) return;
  const std::string key = model::KeyOf(group.meta);
  const Identity identity{key, group.meta.uid, NumberOf(group.meta.resource_version), key};
  PutIn(groups_, identity, now, [&] { return std::make_shared<const model::Group>(group); });
}

void Caches::KeepGone(Watched kind, const std::string& key, const std::string& uid, MonoMs now) {
  if (!read_your_writes_) return;
  if (kind == Watched::kVolume) volumes_.Remove(key, uid, now);
  if (kind != Watched::kPod) return;
  const std::shared_ptr<const StoredPod> held = pods_.Get(key);
  if (held != nullptr && held->view.uid == uid) KeepDeparted(key, now);
  pods_.Remove(key, uid, now);
}

void Caches::Doubt(MonoMs now) {
  std::lock_guard lock(doubt_mutex_);
  doubted_.insert(std::begin(kAllWatched), std::end(kAllWatched));
  doubted_at_ = now;
}

bool Caches::Reliable() const {
  std::lock_guard lock(doubt_mutex_);
  return doubted_.empty();
}

bool Caches::EndDoubt(Watched kind, MonoMs asked_at) {
  std::lock_guard lock(doubt_mutex_);
  if (doubted_.empty() || asked_at < doubted_at_) return false;
  doubted_.erase(kind);
  return doubted_.empty();
}

std::optional<model::PodView> Caches::Departed(const std::string& uid) const {
  std::lock_guard lock(departed_mutex_);
  const auto found = departed_.find(uid);
  if (found == departed_.end()) return std::nullopt;
  return found->second.view;
}

std::vector<std::string> Caches::DepartedSince(const std::string& group_uid, MonoMs since) const {
  std::lock_guard lock(departed_mutex_);
  std::vector<std::string> uids;
  for (const auto& [uid, gone] : departed_) {
    if (gone.group_uid == group_uid && gone.at >= since) uids.push_back(uid);
  }
  return uids;
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
