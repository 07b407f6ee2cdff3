// The Kubernetes API over the transport: paths, content types, and statuses as errors.
// Thread: any. Lifetime: outlives every stream that it opened.
#pragma once

#include <functional>
#include <memory>

#include "operator/kube/api.h"
#include "operator/kube/transport.h"

namespace regroup::kube {

// Told after each call: verb ("get", "list", "create", …), HTTP code (0: no answer), duration.
using CallObserver = std::function<void(std::string_view verb, int code, std::int64_t duration_ms)>;

class Client final : public Api, public WatchApi {
 public:
  static Result<std::unique_ptr<Client>> Create(const ClientConfig& config, const Clock& clock,
                                                CallObserver observer = {});

  Result<Json> Get(const ObjectRef& ref, std::int64_t timeout_ms) override;
  Result<Json> List(const ResourceType& type, const ListOptions& options,
                    std::int64_t timeout_ms) override;
  Result<Json> Create(const ResourceType& type, const std::string& namespace_name,
                      const Json& object, std::int64_t timeout_ms) override;
  Result<Json> Replace(const ObjectRef& ref, const std::string& subresource, const Json& object,
                       std::int64_t timeout_ms) override;
  Result<Json> Apply(const ObjectRef& ref, const std::string& field_manager, const Json& object,
                     std::int64_t timeout_ms) override;
  Result<Json> MergePatch(const ObjectRef& ref, const std::string& subresource, const Json& patch,
                          std::int64_t timeout_ms) override;
  Result<void> Delete(const ObjectRef& ref, const Preconditions& preconditions, int grace_seconds,
                      std::int64_t timeout_ms) override;

  std::unique_ptr<WatchStream> Watch(
      const ResourceType& type, const WatchOptions& options,
      std::function<void(std::string line)> on_line,
      std::function<void(std::optional<Error> error)> on_end) override;

 private:
  Client(std::unique_ptr<Transport> transport, const Clock& clock, CallObserver observer);
  Result<Json> Call(std::string_view verb, HttpRequest request);

  std::unique_ptr<Transport> transport_;
  const Clock& clock_;
  CallObserver observer_;
};

// "/apis/apps/v1/namespaces/x/deployments/name" and so on; exported for tests.
std::string PathOf(const ResourceType& type, const std::string& namespace_name,
                   const std::string& name, const std::string& subresource);
std::string EncodeQuery(const std::string& text);

}  // namespace regroup::kube
