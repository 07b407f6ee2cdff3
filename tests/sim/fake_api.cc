#include "tests/sim/fake_api.h"

#include "operator/base/check.h"
#include "operator/kube/transport.h"

namespace regroup::sim {

template <typename T, typename Request>
Result<T> FakeApi::Send(const std::string& what, bool write, std::int64_t timeout_ms,
                        const Json& body, const Request& request) {
  ++calls_;
  cost_ms_ += world_->Between(1, 6);
  if (!network_->BothWays(host_, "api")) {
    const bool went_out = write && network_->Passes(host_, "api");
    if (went_out) (void)request(body);
    cost_ms_ += timeout_ms;
    return Fail(ErrorCode::kDeadlineExceeded, what + ": no answer from the API server");
  }
  if (world_->Chance(faults_->refuse)) return tl::unexpected<Error>(Refusal(what));
  if (write && world_->Chance(faults_->late)) {
    world_->Trace(host_ + " late write: " + what);
    world_->After(world_->Between(1, 3000), [request, body] { (void)request(body); });
    cost_ms_ += timeout_ms;
    return Fail(ErrorCode::kDeadlineExceeded, what + ": no answer in time");
  }
  Result<T> result = request(body);
  const bool lease = what.find(" leases ") != std::string::npos;
  if (write && (!lease || !result)) {
    writes_ += lease ? 0 : 1;
    world_->Trace(host_ + " " + what + (result ? "" : " -> " + result.error().message));
  }
  if (world_->Chance(faults_->lost_reply)) {
    lost_replies_ += write && result ? 1 : 0;
    world_->Trace(host_ + " lost the reply of " + what);
    cost_ms_ += timeout_ms;
    return Fail(ErrorCode::kDeadlineExceeded, what + ": no answer in time");
  }
  return result;
}

// 429 with Retry-After, or 500, as the client reads them.
Error FakeApi::Refusal(const std::string& what) {
  const bool busy = world_->Chance(0.5);
  Error error = kube::ErrorOfStatus(busy ? 429 : 500, "", busy ? 1000 : 0);
  error.message = what + ": the API server refuses";
  return error;
}

Result<Json> FakeApi::Get(const kube::ObjectRef& ref, std::int64_t timeout_ms) {
  return Send<Json>("GET " + ref.name, false, timeout_ms, Json(),
                    [server = server_, ref](const Json&) { return server->Get(ref); });
}

Result<Json> FakeApi::List(const kube::ResourceType& type, const kube::ListOptions& options,
                           std::int64_t timeout_ms) {
  const std::int64_t cached = server_->VersionAt(world_->Now() - cache_lag_ms_);
  return Send<Json>("LIST " + type.resource, false, timeout_ms, Json(),
                    [server = server_, type, options, cached](const Json&) {
                      return server->ListOf(type, options, cached);
                    });
}

Result<Json> FakeApi::Create(const kube::ResourceType& type, const std::string& namespace_name,
                             const Json& object, std::int64_t timeout_ms) {
  const std::string what = "POST " + type.resource + " " +
                           Str(At(object, {"metadata", "name"})) + Str(Child(object, "reason"));
  return Send<Json>(what, true, timeout_ms, object,
                    [server = server_, type, namespace_name](const Json& body) {
                      return server->Create(type, namespace_name, body);
                    });
}

Result<Json> FakeApi::Replace(const kube::ObjectRef& ref, const std::string& subresource,
                              const Json& object, std::int64_t timeout_ms) {
  const std::string what = "PUT " + ref.type.resource + " " + ref.name + " " + subresource;
  return Send<Json>(what, true, timeout_ms, object,
                    [server = server_, ref, subresource](const Json& body) {
                      return server->Replace(ref, subresource, body);
                    });
}

Result<Json> FakeApi::Apply(const kube::ObjectRef& ref, const std::string& field_manager,
                            const Json& object, std::int64_t timeout_ms) {
  return Send<Json>("APPLY " + ref.type.resource + " " + ref.name, true, timeout_ms, object,
                    [server = server_, ref, field_manager](const Json& body) {
                      return server->Apply(ref, field_manager, body);
                    });
}

Result<Json> FakeApi::MergePatch(const kube::ObjectRef& ref, const std::string& subresource,
                                 const Json& patch, std::int64_t timeout_ms) {
  return Send<Json>("PATCH " + ref.type.resource + " " + ref.name, true, timeout_ms, patch,
                    [server = server_, ref, subresource](const Json& body) {
                      return server->MergePatch(ref, subresource, body);
                    });
}

Result<void> FakeApi::Delete(const kube::ObjectRef& ref, const kube::Preconditions& preconditions,
                             int grace_seconds, std::int64_t timeout_ms) {
  server_->TellOperatorDelete(ref, preconditions);
  return Send<void>("DELETE " + ref.type.resource + " " + ref.name, true, timeout_ms, Json(),
                    [server = server_, ref, preconditions, grace_seconds](const Json&) {
                      return server->Delete(ref, preconditions, grace_seconds);
                    });
}

}  // namespace regroup::sim
