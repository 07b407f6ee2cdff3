// The Kubernetes API in memory: one store (ApiServer) and one client for each operator (FakeApi)
// with that operator's faults. Objects are JSON, as on the wire.
// Modelled: resourceVersion and compare-and-swap, server-side apply with dropped fields, merge
// patch, the status subresource kept apart, UID preconditions, deletionTimestamp with grace and
// finalizers, a log of changes for watches. Not modelled: admission, pagination, garbage
// collection, a second server that lags.
// Thread: one.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "operator/kube/api.h"
#include "tests/sim/world.h"

namespace regroup::sim {

struct Change {
  std::string type;  // ADDED, MODIFIED, DELETED
  std::string resource;
  Json object;
};

class ApiServer {
 public:
  explicit ApiServer(World* world) : world_(world) {}

  Result<Json> Get(const kube::ObjectRef& ref) const;
  std::vector<Json> Objects(const std::string& resource) const;
  Json ListOf(const kube::ResourceType& type, const kube::ListOptions& options) const;
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

  // Every change, in order, at the instant of its commit.
  void OnChange(std::function<void(const Change&)> listener) {
    listeners_.push_back(std::move(listener));
  }
  std::string Version() const { return std::to_string(version_); }

 private:
  using Key = std::pair<std::string, std::string>;  // resource, "namespace/name"
  static Key KeyOf(const kube::ObjectRef& ref) {
    return {ref.type.resource, ref.namespace_name + "/" + ref.name};
  }
  Result<Json> Store(const Key& key, Json object, const Json& before);
  void Remove(const Key& key);
  Result<void> Check(const Json& stored, const std::string& uid, const std::string& version) const;

  World* world_;
  std::map<Key, Json> objects_;
  std::map<std::pair<Key, std::string>, Json> applied_;  // by field manager
  std::int64_t version_ = 100;
  std::vector<std::function<void(const Change&)>> listeners_;
};

struct ApiFaults {
  double refuse = 0;      // an error before anything happened (429, 503, connection refused)
  double lost_reply = 0;  // done, but the caller sees a deadline
  double late = 0;        // the caller sees a deadline, and it is done afterwards
};

class FakeApi final : public kube::Api {
 public:
  FakeApi(ApiServer* server, World* world, Network* network, std::string host,
          const ApiFaults* faults)
      : server_(server), world_(world), network_(network), host_(std::move(host)),
        faults_(faults) {}

  Result<Json> Get(const kube::ObjectRef& ref, std::int64_t timeout_ms) override;
  Result<Json> List(const kube::ResourceType& type, const kube::ListOptions& options,
                    std::int64_t timeout_ms) override;
  Result<Json> Create(const kube::ResourceType& type, const std::string& namespace_name,
                      const Json& object, std::int64_t timeout_ms) override;
  Result<Json> Replace(const kube::ObjectRef& ref, const std::string& subresource,
                       const Json& object, std::int64_t timeout_ms) override;
  Result<Json> Apply(const kube::ObjectRef& ref, const std::string& field_manager,
                     const Json& object, std::int64_t timeout_ms) override;
  Result<Json> MergePatch(const kube::ObjectRef& ref, const std::string& subresource,
                          const Json& patch, std::int64_t timeout_ms) override;
  Result<void> Delete(const kube::ObjectRef& ref, const kube::Preconditions& preconditions,
                      int grace_seconds, std::int64_t timeout_ms) override;

  std::int64_t TakeCost() { return std::exchange(cost_ms_, 0); }
  std::int64_t writes() const { return writes_; }

 private:
  // Runs one request with this client's faults. `write`: it may be late or lose its reply.
  template <typename T>
  Result<T> Send(const std::string& what, bool write, std::int64_t timeout_ms,
                 std::function<Result<T>()> request);

  ApiServer* server_;
  World* world_;
  Network* network_;
  std::string host_;
  const ApiFaults* faults_;
  std::int64_t cost_ms_ = 0;
  std::int64_t writes_ = 0;
};

}  // namespace regroup::sim
