// One operator's client of the simulated API server, with that operator's faults: requests that are
// refused (429 with Retry-After, 500), answered late or never, done although the answer is lost.
// A GET and a list without a version are consistent reads; a list at version "0" may come from a
// server that is behind (see ApiServer::ListOf).
// Thread: one.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "operator/kube/api.h"
#include "tests/sim/api_server.h"
#include "tests/sim/world.h"

namespace regroup::sim {

struct ApiFaults {
  double refuse = 0;      // an error before anything happened (429, 500)
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
  // Writes that were sent, without those of the Lease.
  std::int64_t writes() const { return writes_; }
  std::int64_t calls() const { return calls_; }
  // What a list at version "0" shows is this old.
  void SetCacheLag(std::int64_t lag_ms) { cache_lag_ms_ = lag_ms; }
  std::int64_t lost_replies() const { return lost_replies_; }

 private:
  // Runs request(body) with this client's faults. `write`: it may be late or lose its reply.
  template <typename T, typename Request>
  Result<T> Send(const std::string& what, bool write, std::int64_t timeout_ms, const Json& body,
                 const Request& request);
  Error Refusal(const std::string& what);

  ApiServer* server_;
  World* world_;
  Network* network_;
  std::string host_;
  const ApiFaults* faults_;
  std::int64_t cost_ms_ = 0;
  std::int64_t writes_ = 0;
  std::int64_t calls_ = 0;
  std::int64_t cache_lag_ms_ = 0;
  std::int64_t lost_replies_ = 0;
};

}  // namespace regroup::sim
