#include "tests/sim/fake_api.h"

#include "operator/base/check.h"

namespace regroup::sim {
namespace {

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

Json WithoutVersion(Json object) {
  if (object.contains("metadata")) object["metadata"].erase("resourceVersion");
  return object;
}

}  // namespace

Result<Json> ApiServer::Get(const kube::ObjectRef& ref) const {
  const auto it = objects_.find(KeyOf(ref));
  if (it == objects_.end()) return Fail(ErrorCode::kNotFound, ref.name + " not found");
  return it->second;
}

std::vector<Json> ApiServer::Objects(const std::string& resource) const {
  std::vector<Json> found;
  for (const auto& [key, object] : objects_) {
    if (key.first == resource) found.push_back(object);
  }
  return found;
}

Json ApiServer::ListOf(const kube::ResourceType& type, const kube::ListOptions& options) const {
  Json items = Json::array();
  for (const Json& object : Objects(type.resource)) {
    const std::string name_space = Str(At(object, {"metadata", "namespace"}));
    if (!options.namespace_name.empty() && name_space != options.namespace_name) continue;
    if (MatchesLabels(object, options.label_selector)) items.push_back(object);
  }
  return Json{{"metadata", {{"resourceVersion", Version()}}}, {"items", items}};
}

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

Result<Json> ApiServer::Store(const Key& key, Json object, const Json& before) {
  const bool changed = before.is_null() || WithoutVersion(object) != WithoutVersion(before);
  if (!changed) return before;  // a write without a change has no version of its own
  if (!before.is_null() && Child(object, "spec") != Child(before, "spec")) {
    object["metadata"]["generation"] = Int(At(before, {"metadata", "generation"}), 1) + 1;
  }
  object["metadata"]["resourceVersion"] = std::to_string(++version_);
  const bool deleting = At(object, {"metadata", "deletionTimestamp"}).is_string();
  const Json& finalizers = At(object, {"metadata", "finalizers"});
  objects_[key] = object;
  for (const auto& listener : listeners_) {
    listener(Change{before.is_null() ? "ADDED" : "MODIFIED", key.first, object});
  }
  if (deleting && finalizers.empty() && key.first != "pods") Remove(key);
  return object;
}

void ApiServer::Remove(const Key& key) {
  const auto it = objects_.find(key);
  if (it == objects_.end()) return;
  Json last = it->second;
  last["metadata"]["resourceVersion"] = std::to_string(++version_);
  objects_.erase(it);
  for (const auto& listener : listeners_) listener(Change{"DELETED", key.first, last});
}

Result<Json> ApiServer::Create(const kube::ResourceType& type, const std::string& namespace_name,
                               const Json& object) {
  Json stored = object;
  Json& metadata = stored["metadata"];
  std::string name = Str(Child(metadata, "name"));
  if (name.empty()) name = world_->NewId(Str(Child(metadata, "generateName"), "x-"));
  const Key key{type.resource, namespace_name + "/" + name};
  if (objects_.count(key) > 0) return Fail(ErrorCode::kAlreadyExists, name + " already exists");
  stored["apiVersion"] = ApiVersion(type);
  stored["kind"] = KindOf(type.resource);
  metadata["name"] = name;
  if (!namespace_name.empty()) metadata["namespace"] = namespace_name;
  metadata["uid"] = world_->NewId("uid-");
  metadata["generation"] = 1;
  metadata["creationTimestamp"] = FormatRfc3339(world_->WallNow());
  if (HasStatus(type.resource)) stored.erase("status");
  if (type.resource == "pods") stored["status"] = {{"phase", "Pending"}};
  return Store(key, std::move(stored), Json());
}

Result<Json> ApiServer::Replace(const kube::ObjectRef& ref, const std::string& subresource,
                                const Json& object) {
  const Key key = KeyOf(ref);
  const auto it = objects_.find(key);
  if (it == objects_.end()) return Fail(ErrorCode::kNotFound, ref.name + " not found");
  const Json before = it->second;
  const Json& metadata = Child(object, "metadata");
  if (auto ok = Check(before, Str(Child(metadata, "uid")), Str(Child(metadata, "resourceVersion")));
      !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  Json next = before;
  if (subresource == "status") {
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
  return Store(key, std::move(next), before);
}

Result<Json> ApiServer::Apply(const kube::ObjectRef& ref, const std::string& field_manager,
                              const Json& object) {
  const Key key = KeyOf(ref);
  const auto it = objects_.find(key);
  const std::string version = Str(At(object, {"metadata", "resourceVersion"}));
  const std::string uid = Str(At(object, {"metadata", "uid"}));
  if (it == objects_.end()) {
    if (!version.empty() || !uid.empty()) {
      return Fail(ErrorCode::kConflict, "the object is gone");
    }
    Json fresh = object;
    fresh["metadata"]["name"] = ref.name;
    applied_[{key, field_manager}] = object;
    return Create(ref.type, ref.namespace_name, fresh);
  }
  const Json before = it->second;
  if (auto ok = Check(before, uid, version); !ok) return tl::unexpected<Error>(ok.error());
  Json next = before;
  const auto last = applied_.find({key, field_manager});
  if (last != applied_.end()) DropUnnamed(next, last->second, object);
  Json wanted = WithoutVersion(object);
  if (HasStatus(ref.type.resource)) wanted.erase("status");
  Overlay(next, wanted);
  applied_[{key, field_manager}] = WithoutVersion(object);
  return Store(key, std::move(next), before);
}

Result<Json> ApiServer::MergePatch(const kube::ObjectRef& ref, const std::string& subresource,
                                   const Json& patch) {
  const Key key = KeyOf(ref);
  const auto it = objects_.find(key);
  if (it == objects_.end()) return Fail(ErrorCode::kNotFound, ref.name + " not found");
  const Json before = it->second;
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
  return Store(key, std::move(next), before);
}

Result<void> ApiServer::Delete(const kube::ObjectRef& ref,
                               const kube::Preconditions& preconditions, int grace_seconds) {
  const Key key = KeyOf(ref);
  const auto it = objects_.find(key);
  if (it == objects_.end()) return Fail(ErrorCode::kNotFound, ref.name + " not found");
  const Json before = it->second;
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
  Store(key, std::move(next), before);
  return {};
}

// ---------------------------------------------------------------- one operator's client

template <typename T>
Result<T> FakeApi::Send(const std::string& what, bool write, std::int64_t timeout_ms,
                        std::function<Result<T>()> request) {
  cost_ms_ += world_->Between(1, 6);
  if (!network_->BothWays(host_, "api")) {
    const bool went_out = write && network_->Passes(host_, "api");
    if (went_out) request();
    cost_ms_ += timeout_ms;
    return Fail(ErrorCode::kDeadlineExceeded, what + ": no answer from the API server");
  }
  if (world_->Chance(faults_->refuse)) {
    const bool busy = world_->Chance(0.5);
    return Fail(busy ? ErrorCode::kTooManyRequests : ErrorCode::kUnavailable,
                what + ": the API server refuses");
  }
  if (write && world_->Chance(faults_->late)) {
    world_->Trace(host_ + " late write: " + what);
    world_->After(world_->Between(1, 3000), [request] { request(); });
    cost_ms_ += timeout_ms;
    return Fail(ErrorCode::kDeadlineExceeded, what + ": no answer in time");
  }
  Result<T> result = request();
  if (write) {
    ++writes_;
    world_->Trace(host_ + " " + what + (result ? "" : " -> " + result.error().message));
  }
  if (world_->Chance(faults_->lost_reply)) {
    world_->Trace(host_ + " lost the reply of " + what);
    cost_ms_ += timeout_ms;
    return Fail(ErrorCode::kDeadlineExceeded, what + ": no answer in time");
  }
  return result;
}

Result<Json> FakeApi::Get(const kube::ObjectRef& ref, std::int64_t timeout_ms) {
  return Send<Json>("GET " + ref.name, false, timeout_ms,
                    [server = server_, ref] { return server->Get(ref); });
}

Result<Json> FakeApi::List(const kube::ResourceType& type, const kube::ListOptions& options,
                           std::int64_t timeout_ms) {
  return Send<Json>("LIST " + type.resource, false, timeout_ms, [server = server_, type, options] {
    return Result<Json>(server->ListOf(type, options));
  });
}

Result<Json> FakeApi::Create(const kube::ResourceType& type, const std::string& namespace_name,
                             const Json& object, std::int64_t timeout_ms) {
  const std::string what = "POST " + type.resource + " " +
                           Str(At(object, {"metadata", "name"})) + Str(Child(object, "reason"));
  return Send<Json>(what, true, timeout_ms, [server = server_, type, namespace_name, object] {
    return server->Create(type, namespace_name, object);
  });
}

Result<Json> FakeApi::Replace(const kube::ObjectRef& ref, const std::string& subresource,
                              const Json& object, std::int64_t timeout_ms) {
  const std::string what = "PUT " + ref.type.resource + " " + ref.name + " " + subresource;
  return Send<Json>(what, true, timeout_ms, [server = server_, ref, subresource, object] {
    return server->Replace(ref, subresource, object);
  });
}

Result<Json> FakeApi::Apply(const kube::ObjectRef& ref, const std::string& field_manager,
                            const Json& object, std::int64_t timeout_ms) {
  return Send<Json>("APPLY " + ref.type.resource + " " + ref.name, true, timeout_ms,
                    [server = server_, ref, field_manager, object] {
                      return server->Apply(ref, field_manager, object);
                    });
}

Result<Json> FakeApi::MergePatch(const kube::ObjectRef& ref, const std::string& subresource,
                                 const Json& patch, std::int64_t timeout_ms) {
  return Send<Json>("PATCH " + ref.type.resource + " " + ref.name, true, timeout_ms,
                    [server = server_, ref, subresource, patch] {
                      return server->MergePatch(ref, subresource, patch);
                    });
}

Result<void> FakeApi::Delete(const kube::ObjectRef& ref, const kube::Preconditions& preconditions,
                             int grace_seconds, std::int64_t timeout_ms) {
  RG_CHECK(!preconditions.uid.empty(), "a delete without a UID");
  return Send<void>("DELETE " + ref.type.resource + " " + ref.name, true, timeout_ms,
                    [server = server_, ref, preconditions, grace_seconds] {
                      return server->Delete(ref, preconditions, grace_seconds);
                    });
}

}  // namespace regroup::sim
