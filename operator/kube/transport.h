// HTTP as this room needs it: one call with an absolute deadline, and one stream of lines. The only
// implementation is transport_cpprest.cc; nothing above sees the library.
// Thread: any. Stream callbacks run on the library's one pool thread: hand over and return.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "operator/base/clock.h"
#include "operator/base/error.h"
#include "operator/kube/api.h"
#include "operator/kube/kubeconfig.h"

namespace regroup::kube {

struct HttpRequest {
  std::string method;
  std::string path;  // with the query, encoded
  std::string content_type;
  std::string body;
  std::int64_t timeout_ms = 5000;
};

struct HttpResponse {
  int status = 0;
  std::string body;
  std::int64_t retry_after_ms = 0;
};

class Transport {
 public:
  virtual ~Transport() = default;
  // kUnavailable: nothing was answered; kDeadlineExceeded: the outcome is unknown.
  virtual Result<HttpResponse> Call(const HttpRequest& request) = 0;
  // on_end gets the HTTP status' error, a lost connection, or nothing at a clean end.
  virtual std::unique_ptr<WatchStream> Stream(
      const std::string& path, std::function<void(std::string line)> on_line,
      std::function<void(std::optional<Error> error)> on_end) = 0;
};

Result<std::unique_ptr<Transport>> MakeTransport(const ClientConfig& config, const Clock& clock);

// An object or a watch event without metadata.managedFields: half of each object's text, which only
// the API server reads.
Result<Json> ParseObject(std::string_view text);

// The error that an HTTP status means; `body` may hold a Kubernetes Status with a message.
Error ErrorOfStatus(int status, const std::string& body, std::int64_t retry_after_ms);

}  // namespace regroup::kube
