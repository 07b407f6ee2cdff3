#include "tests/sim/api_server.h"

#include <algorithm>
#include <cstdlib>

namespace regroup::sim {
namespace {

constexpr std::size_t kLogMax = 20'000;

std::string ApiVersion(const kube::ResourceType& type) {
  return type.group.empty() ? type.version : type.group + "/" + type.version;
}

std::string KindOf(const std::string& resource) {
  static const std::map<std::string, std::string> kKinds = {
      {"pods", "Pod"}, {"secrets", "Secret"}, {"configmaps", "ConfigMap"},
      {"services", "Service"}, {"endpointslices", "EndpointSlice"}, {"nodes", "Node"},
      {"events", "Event"}, {"poddisruptionbudgets", "PodDisruptionBudget"},
      {"replicationgroups", "ReplicationGroup"}, {"leases", "Lease"},
      {"persistentvolumeclaims", "PersistentVolumeClaim"}, {"serviceaccounts", "ServiceAccount"}};
  const auto it = kKinds.find(resource);
  return it == kKinds.end() ? "Object" : it->second;
}

bool HasStatus(const std::string& resource) {
  return resource == "pods" || resource == "replicationgroups" || resource == "nodes" ||
         resource == "poddisruptionbudgets" || resource == "services";
}

// Fields that the manager applied before and no longer names are taken out again.
void DropUnnamed(Json& object, const Json& before, const Json& now) {
  if (!object.is_object() || !before.is_object()) return;
  for (const auto& [key, value] : before.items()) {
    if (key == "resourceVersion" || key == "uid") continue;
    if (!now.is_object() || !now.contains(key)) {
      object.erase(key);
    } else if (object.contains(key) && value.is_object()) {
      DropUnnamed(object[key], value, now.at(key));
    }
  }
}

// Maps merge and lists are replaced: enough for objects that one manager owns.
void Overlay(Json& object, const Json& wanted) {
  if (!object.is_object() || !wanted.is_object()) {
    object = wanted;
    return;
  }
  for (const auto& [key, value] : wanted.items()) {
    if (object.contains(key) && value.is_object()) {
      Overlay(object[key], value);
    } else {
      object[key] = value;
    }
  }
}

Json WithoutVersion(Json object) {
  if (object.contains("metadata")) object["metadata"].erase("resourceVersion");
  return object;
}

}  // namespace

bool MatchesLabels(const Json& object, const std::string& selector) {
  std::size_t at = 0;
  while (at < selector.size()) {
    const std::size_t end = std::min(selector.find(',', at), selector.size());
    const std::string term = selector.substr(at, end - at);
    const std::size_t equals = term.find('=');
    const Json& labels = At(object, {"metadata", "labels"});
    const std::string key = term.substr(0, equals);
    if (!labels.is_object() || !labels.contains(key)) return false;
    if (equals != std::string::npos && Str(labels.at(key)) != term.substr(equals + 1)) return false;
    at = end + 1;
  }
  return true;
}

std::string SeenThrough(const Commit& commit, const std::string& label_selector) {
  if (label_selector.empty()) return commit.type;
  const bool was = commit.before != nullptr && MatchesLabels(*commit.before, label_selector);
  const bool is = commit.type != "DELETED" && MatchesLabels(*commit.object, label_selector);
  if (!was) return is ? "ADDED" : "";
  return is ? "MODIFIED" : "DELETED";
}

// ---------------------------------------------------------------- reading

kube::Object ApiServer::Held(const Key& key) const {
  const auto named = objects_.find(key.resource);
  if (named == objects_.end()) return nullptr;
  const auto it = named->second.find(key.name);
  return it == named->second.end() ? nullptr : it->second;
}

const Json* ApiServer::Find(const kube::ObjectRef& ref) const { return Held(KeyOf(ref)).get(); }

Result<Json> ApiServer::Get(const kube::ObjectRef& ref) const {
  const Json* object = Find(ref);
  if (object == nullptr) return Fail(ErrorCode::kNotFound, ref.name + " not found");
  return *object;
}

std::vector<Json> ApiServer::Objects(const std::string& resource) const {
  std::vector<Json> found;
  const auto named = objects_.find(resource);
  if (named == objects_.end()) return found;
  for (const auto& [name, object] : named->second) found.push_back(*object);
  return found;
}

std::vector<kube::Object> ApiServer::Matching(const kube::ResourceType& type,
                                              const std::string& namespace_name,
                                              const std::string& label_selector) const {
  std::vector<kube::Object> found;
  const auto named = objects_.find(type.resource);
  if (named == objects_.end()) return found;
  for (const auto& [name, object] : named->second) {
    if (!namespace_name.empty() && name.rfind(namespace_name + "/", 0) != 0) continue;
    if (MatchesLabels(*object, label_selector)) found.push_back(object);
  }
  return found;
}

// The objects of one resource as they were at an earlier version.
std::optional<ApiServer::Named> ApiServer::AsOf(const std::string& resource,
                                                std::int64_t version) const {
  if (version < compacted_) return std::nullopt;
  const auto now = objects_.find(resource);
  Named named = now == objects_.end() ? Named{} : now->second;
  for (auto it = log_.rbegin(); it != log_.rend() && (*it)->version > version; ++it) {
    const Commit& commit = **it;
    if (commit.resource != resource) continue;
    if (commit.before == nullptr) named.erase(commit.key);
    else named[commit.key] = commit.before;
  }
  return named;
}

Result<Json> ApiServer::ListOf(const kube::ResourceType& type, const kube::ListOptions& options,
                               std::int64_t cache_version) const {
  std::int64_t version = options.resource_version == "0" ? cache_version : version_;
  std::string after;
  if (!options.continue_token.empty()) {  // "version name": pages show one state
    version = std::strtoll(options.continue_token.c_str(), nullptr, 10);
    after = options.continue_token.substr(options.continue_token.find(' ') + 1);
  }
  const std::optional<Named> named = AsOf(type.resource, version);
  if (!named) return tl::unexpected<Error>(Error{ErrorCode::kGone, "too old", 410, 0});
  Json metadata{{"resourceVersion", std::to_string(version)}};
  Json items = Json::array();
  std::string last;
  for (auto it = after.empty() ? named->begin() : named->upper_bound(after); it != named->end();
       ++it) {
    if (!options.namespace_name.empty() && it->first.rfind(options.namespace_name + "/", 0) != 0) {
      continue;
    }
    if (!MatchesLabels(*it->second, options.label_selector)) continue;
    if (options.limit > 0 && items.size() == static_cast<std::size_t>(options.limit)) {
      metadata["continue"] = std::to_string(version) + " " + last;
      break;
    }
    items.push_back(*it->second);
    last = it->first;
  }
  return Json{{"metadata", metadata}, {"items", items}};
}

// ---------------------------------------------------------------- the log

void ApiServer::Tell(const std::string& type, const Key& key, const kube::Object& object,
                     const kube::Object& before) {
  auto commit = std::make_shared<const Commit>(
      Commit{version_, world_->Now(), type, key.resource, key.name, object, before});
  log_.push_back(commit);
  if (log_.size() > kLogMax) {
    compacted_ = log_.front()->version;
    log_.pop_front();
  }
  for (const auto& listener : listeners_) listener(Change{type, commit->resource, *object});
  for (const auto& follower : followers_) follower(commit);
}

std::int64_t ApiServer::VersionAt(MonoMs at) const {
  for (auto it = log_.rbegin(); it != log_.rend(); ++it) {
    if ((*it)->at <= at) return (*it)->version;
  }
  return compacted_;
}

std::optional<std::vector<std::shared_ptr<const Commit>>> ApiServer::Since(
    std::int64_t version, const std::string& resource) const {
  if (version < compacted_) return std::nullopt;
  std::vector<std::shared_ptr<const Commit>> found;
  for (auto it = log_.rbegin(); it != log_.rend() && (*it)->version > version; ++it) {
    if ((*it)->resource == resource) found.push_back(*it);
  }
  std::reverse(found.begin(), found.end());
  return found;
}

void ApiServer::Compact() {
  compacted_ = version_;
  log_.clear();
}

void ApiServer::Backup() { backup_ = Contents{objects_, applied_, version_}; }

void ApiServer::Restore() {
  ++restores_;
  const std::map<std::string, Named> lost = std::move(objects_);
  objects_ = backup_->objects;
  applied_ = backup_->applied;
  version_ = backup_->version;
  Compact();
  const auto tell = [this](const char* type, const std::string& resource, const Json& object) {
    for (const auto& listener : listeners_) listener(Change{type, resource, object});
  };
  const auto uid = [](const Json& object) { return Str(At(object, {"metadata", "uid"})); };
  const auto in = [&](const std::map<std::string, Named>& contents, const std::string& resource,
                      const std::string& name, const std::string& of_uid) -> const Json* {
    const auto named = contents.find(resource);
    if (named == contents.end()) return nullptr;
    const auto it = named->second.find(name);
    return it == named->second.end() || uid(*it->second) != of_uid ? nullptr : it->second.get();
  };
  const std::map<std::string, Named> kept = objects_;  // a listener may write
  for (const auto& [resource, named] : lost) {
    for (const auto& [name, object] : named) {
      if (in(kept, resource, name, uid(*object)) == nullptr) tell("DELETED", resource, *object);
    }
  }
  for (const auto& [resource, named] : kept) {
    for (const auto& [name, object] : named) {
      const Json* before = in(lost, resource, name, uid(*object));
      if (before == object.get()) continue;
      tell(before == nullptr ? "ADDED" : "MODIFIED", resource, *object);
    }
  }
  for (const auto& on_restart : on_restart_) on_restart();
}

// ---------------------------------------------------------------- writing

Result<void> ApiServer::Check(const Json& stored, const std::string& uid,
                              const std::string& version) const {
  const Json& metadata = Child(stored, "metadata");
  if (!uid.empty() && Str(Child(metadata, "uid")) != uid) {
    return Fail(ErrorCode::kConflict, "another UID");
  }
  if (!version.empty() && Str(Child(metadata, "resourceVersion")) != version) {
    return Fail(ErrorCode::kConflict, "the object has been modified");
  }
  return {};
}

Result<Json> ApiServer::Store(const Key& key, Json object, const kube::Object& before) {
  if (before != nullptr) {
    object["metadata"]["resourceVersion"] = At(*before, {"metadata", "resourceVersion"});
    if (object == *before) return object;  // a write without a change has no version of its own
    if (Child(object, "spec") != Child(*before, "spec")) {
      object["metadata"]["generation"] = Int(At(*before, {"metadata", "generation"}), 1) + 1;
    }
  }
  object["metadata"]["resourceVersion"] = std::to_string(++version_);
  const bool deleting = At(object, {"metadata", "deletionTimestamp"}).is_string();
  const bool finalized = !At(object, {"metadata", "finalizers"}).empty();
  const auto stored = std::make_shared<const Json>(std::move(object));
  objects_[key.resource][key.name] = stored;
  Tell(before == nullptr ? "ADDED" : "MODIFIED", key, stored, before);
  if (deleting && !finalized && key.resource != "pods") Remove(key);
  return *stored;
}

void ApiServer::Remove(const Key& key) {
  const kube::Object before = Held(key);
  if (before == nullptr) return;
  Json last = *before;
  last["metadata"]["resourceVersion"] = std::to_string(++version_);
  objects_[key.resource].erase(key.name);
  Tell("DELETED", key, std::make_shared<const Json>(std::move(last)), before);
}

Result<Json> ApiServer::Create(const kube::ResourceType& type, const std::string& namespace_name,
                               const Json& object) {
  Json stored = object;
  Json& metadata = stored["metadata"];
  std::string name = Str(Child(metadata, "name"));
  if (name.empty()) name = world_->NewId(Str(Child(metadata, "generateName"), "x-"));
  const Key key{type.resource, namespace_name + "/" + name};
  if (Held(key) != nullptr) return Fail(ErrorCode::kAlreadyExists, name + " already exists");
  stored["apiVersion"] = ApiVersion(type);
  stored["kind"] = KindOf(type.resource);
  metadata["name"] = name;
  if (!namespace_name.empty()) metadata["namespace"] = namespace_name;
  metadata["uid"] = world_->NewId("uid-");
  metadata["generation"] = 1;
  metadata["creationTimestamp"] = FormatRfc3339(world_->WallNow());
  if (HasStatus(type.resource)) stored.erase("status");
  if (type.resource == "pods") stored["status"] = {{"phase", "Pending"}};
  return Store(key, std::move(stored), nullptr);
}

Result<Json> ApiServer::Replace(const kube::ObjectRef& ref, const std::string& subresource,
                                const Json& object) {
  const Key key = KeyOf(ref);
  const kube::Object held = Held(key);
  if (held == nullptr) return Fail(ErrorCode::kNotFound, ref.name + " not found");
  const Json& before = *held;
  const Json& metadata = Child(object, "metadata");
  if (auto ok = Check(before, Str(Child(metadata, "uid")), Str(Child(metadata, "resourceVersion")));
      !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  Json next = Json::object();
  if (subresource == "status") {
    for (const auto& [name, value] : before.items()) {
      if (name != "status") next[name] = value;
    }
    next["status"] = Child(object, "status");
  } else {
    next = object;
    for (const char* kept : {"uid", "creationTimestamp", "generation", "deletionTimestamp"}) {
      if (before.at("metadata").contains(kept)) {
        next["metadata"][kept] = before.at("metadata").at(kept);
      }
    }
    if (HasStatus(ref.type.resource) && before.contains("status")) {
      next["status"] = before.at("status");
    }
  }
  return Store(key, std::move(next), held);
}

Result<Json> ApiServer::Apply(const kube::ObjectRef& ref, const std::string& field_manager,
                              const Json& object) {
  const Key key = KeyOf(ref);
  const kube::Object held = Held(key);
  const std::string version = Str(At(object, {"metadata", "resourceVersion"}));
  const std::string uid = Str(At(object, {"metadata", "uid"}));
  if (held == nullptr) {
    if (!version.empty() || !uid.empty()) {
      return Fail(ErrorCode::kConflict, "the object is gone");
    }
    Json fresh = object;
    fresh["metadata"]["name"] = ref.name;
    applied_[AppliedKey(key, field_manager)] = std::make_shared<const Json>(object);
    return Create(ref.type, ref.namespace_name, fresh);
  }
  const Json& before = *held;
  if (auto ok = Check(before, uid, version); !ok) return tl::unexpected<Error>(ok.error());
  Json next = before;
  kube::Object& last = applied_[AppliedKey(key, field_manager)];
  if (last != nullptr) DropUnnamed(next, *last, object);
  Json wanted = WithoutVersion(object);
  if (HasStatus(ref.type.resource)) wanted.erase("status");
  Overlay(next, wanted);
  last = std::make_shared<const Json>(WithoutVersion(object));
  return Store(key, std::move(next), held);
}

Result<Json> ApiServer::MergePatch(const kube::ObjectRef& ref, const std::string& subresource,
                                   const Json& patch) {
  const Key key = KeyOf(ref);
  const kube::Object held = Held(key);
  if (held == nullptr) return Fail(ErrorCode::kNotFound, ref.name + " not found");
  const Json& before = *held;
  const Json& metadata = Child(patch, "metadata");
  if (auto ok = Check(before, Str(Child(metadata, "uid")), Str(Child(metadata, "resourceVersion")));
      !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  Json next = before;
  if (subresource == "status") {
    if (patch.contains("status")) next["status"].merge_patch(patch.at("status"));
  } else {
    Json rest = WithoutVersion(patch);
    if (HasStatus(ref.type.resource)) rest.erase("status");
    next.merge_patch(rest);
  }
  return Store(key, std::move(next), held);
}

Result<void> ApiServer::Delete(const kube::ObjectRef& ref,
                               const kube::Preconditions& preconditions, int grace_seconds) {
  const Key key = KeyOf(ref);
  const kube::Object held = Held(key);
  if (held == nullptr) return Fail(ErrorCode::kNotFound, ref.name + " not found");
  const Json& before = *held;
  if (auto ok = Check(before, preconditions.uid, preconditions.resource_version); !ok) return ok;
  const std::int64_t own_grace = Int(At(before, {"spec", "terminationGracePeriodSeconds"}), 30);
  const std::int64_t grace = grace_seconds < 0 ? own_grace : grace_seconds;
  const bool bound = !Str(At(before, {"spec", "nodeName"})).empty();
  const bool graceful = ref.type.resource == "pods" && bound && grace > 0;
  const bool finalized = !At(before, {"metadata", "finalizers"}).empty();
  if (!graceful && !finalized) {
    Remove(key);
    return {};
  }
  Json next = before;
  if (!At(before, {"metadata", "deletionTimestamp"}).is_string()) {
    next["metadata"]["deletionTimestamp"] = FormatRfc3339(world_->WallNow());
  }
  next["metadata"]["deletionGracePeriodSeconds"] = grace;
  Store(key, std::move(next), held);
  return {};
}

}  // namespace regroup::sim
