// The Kubernetes API server and its store in memory. Objects are JSON, as on the wire.
// Modelled: resourceVersion and compare-and-swap, server-side apply with dropped fields, merge
// patch, the status subresource kept apart, UID preconditions, deletionTimestamp with grace and
// finalizers; the log of changes that watches and older lists read, its compaction (410), and the
// setting back of the whole store to an older state, after which versions are given out again.
// Not modelled: admission, garbage collection.
// Thread: one. Lifetime: stored objects are shared and never changed.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "operator/kube/api.h"
#include "tests/sim/world.h"

namespace regroup::sim {

// What a listener is told; valid during the call only.
struct Change {
  const std::string& type;  // ADDED, MODIFIED, DELETED
  const std::string& resource;
  const Json& object;
};

// One entry of the log.
struct Commit {
  std::int64_t version = 0;
  MonoMs at = 0;
  std::string type;
  std::string resource;
  std::string key;       // "namespace/name"
  kube::Object object;   // of DELETED: the last state, at the version of the deletion
  kube::Object before;   // null where there was none
};

// What a watch with this selector is told of a commit: its type as seen through the selector, or
// empty where the object was and is out of sight.
std::string SeenThrough(const Commit& commit, const std::string& label_selector);
bool MatchesLabels(const Json& object, const std::string& selector);

class ApiServer {
 public:
  explicit ApiServer(World* world) : world_(world) {}

  const Json* Find(const kube::ObjectRef& ref) const;  // valid until the next change
  Result<Json> Get(const kube::ObjectRef& ref) const;
  std::vector<Json> Objects(const std::string& resource) const;
  // Pages by options.limit and continue_token; resource_version "0" is answered as the store was
  // at `cache_version`, everything else as it is now.
  Result<Json> ListOf(const kube::ResourceType& type, const kube::ListOptions& options,
                      std::int64_t cache_version) const;
  Result<Json> Create(const kube::ResourceType& type, const std::string& namespace_name,
                      const Json& object);
  Result<Json> Replace(const kube::ObjectRef& ref, const std::string& subresource,
                       const Json& object);
  Result<Json> Apply(const kube::ObjectRef& ref, const std::string& field_manager,
                     const Json& object);
  Result<Json> MergePatch(const kube::ObjectRef& ref, const std::string& subresource,
                          const Json& patch);
  Result<void> Delete(const kube::ObjectRef& ref, const kube::Preconditions& preconditions,
                      int grace_seconds);

  // Before an operator's delete is looked at; deletes of others are not told.
  using DeleteFn = std::function<void(const kube::ObjectRef&, const kube::Preconditions&)>;
  void OnOperatorDelete(DeleteFn listener) { on_delete_.push_back(std::move(listener)); }
  void TellOperatorDelete(const kube::ObjectRef& ref, const kube::Preconditions& by) const {
    for (const DeleteFn& listener : on_delete_) listener(ref, by);
  }

  // Every change, in order, at the instant of its commit.
  void OnChange(std::function<void(const Change&)> listener) {
    listeners_.push_back(std::move(listener));
  }
  // The log as watches follow it.
  void OnCommit(std::function<void(const std::shared_ptr<const Commit>&)> follower) {
    followers_.push_back(std::move(follower));
  }
  // After a Restore(): the server restarted, and every connection is lost.
  void OnRestart(std::function<void()> listener) { on_restart_.push_back(std::move(listener)); }

  // False: an older server, which refuses watches with initial events.
  void SetServesWatchList(bool on) { serves_watch_list_ = on; }
  bool serves_watch_list() const { return serves_watch_list_; }

  std::string Version() const { return std::to_string(version_); }
  std::int64_t version() const { return version_; }
  std::int64_t VersionAt(MonoMs at) const;  // the newest version at that time
  // The log after `version`; nothing where it was compacted away (410).
  std::optional<std::vector<std::shared_ptr<const Commit>>> Since(std::int64_t version,
                                                                  const std::string& resource)
      const;
  // Present objects that a watch with initial events begins with.
  std::vector<kube::Object> Matching(const kube::ResourceType& type,
                                     const std::string& namespace_name,
                                     const std::string& label_selector) const;
  void Compact();
  // Keeps the present state for a Restore().
  void Backup();
  bool HasBackup() const { return backup_.has_value(); }
  // The store as it was at the last Backup(); every watch ends. Listeners are told what differs.
  void Restore();
  int restores() const { return restores_; }

 private:
  using Named = std::map<std::string, kube::Object>;  // by "namespace/name"
  struct Contents {
    std::map<std::string, Named> objects;  // by resource
    std::map<std::string, kube::Object> applied;  // by resource, name and field manager
    std::int64_t version = 100;
  };
  struct Key {
    std::string resource;
    std::string name;
  };
  static Key KeyOf(const kube::ObjectRef& ref) {
    return {ref.type.resource, ref.namespace_name + "/" + ref.name};
  }
  static std::string AppliedKey(const Key& key, const std::string& field_manager) {
    return key.resource + " " + key.name + " " + field_manager;
  }
  kube::Object Held(const Key& key) const;
  std::optional<Named> AsOf(const std::string& resource, std::int64_t version) const;
  Result<Json> Store(const Key& key, Json object, const kube::Object& before);
  void Remove(const Key& key);
  void Tell(const std::string& type, const Key& key, const kube::Object& object,
            const kube::Object& before);
  Result<void> Check(const Json& stored, const std::string& uid, const std::string& version) const;

  World* world_;
  std::map<std::string, Named> objects_;
  std::map<std::string, kube::Object> applied_;
  std::int64_t version_ = 100;
  std::deque<std::shared_ptr<const Commit>> log_;
  std::int64_t compacted_ = 100;  // versions up to this one are gone from the log
  std::optional<Contents> backup_;
  int restores_ = 0;
  std::vector<DeleteFn> on_delete_;
  bool serves_watch_list_ = true;
  std::vector<std::function<void(const Change&)>> listeners_;
  std::vector<std::function<void(const std::shared_ptr<const Commit>&)>> followers_;
  std::vector<std::function<void()>> on_restart_;
};

}  // namespace regroup::sim
