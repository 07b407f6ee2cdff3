// The port to the Kubernetes API. Synchronous with a deadline; the adapter (client.h over
// transport_cpprest.cc) is asynchronous below. The simulator implements the same port.
// Thread: every method may be called from any thread. Errors: error.h codes; kDeadlineExceeded and
// kCancelled mean that a write may have happened.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "operator/base/clock.h"
#include "operator/base/error.h"
#include "operator/base/json.h"

namespace regroup::kube {

struct ResourceType {  // e.g. {"apps", "v1", "deployments"}; group "" is the core group
  std::string group;
  std::string version;
  std::string resource;
  bool namespaced = true;
  bool operator==(const ResourceType&) const = default;
};

struct ObjectRef {
  ResourceType type;
  std::string namespace_name;  // empty for cluster-scoped
  std::string name;
};

// A stored object as it is shared between a list, a watch and their readers: never changed.
using Object = std::shared_ptr<const Json>;

struct Preconditions {
  std::string uid;
  std::string resource_version;
};

struct ListOptions {
  std::string namespace_name;  // empty: all namespaces
  std::string label_selector;
  std::string field_selector;
  std::string resource_version;        // "" = most recent (quorum), "0" = any
  std::string resource_version_match;  // "", "NotOlderThan", "Exact"
  int limit = 0;
  std::string continue_token;
};

struct WatchOptions {
  std::string namespace_name;
  std::string label_selector;
  std::string field_selector;
  std::string resource_version;
  bool send_initial_events = false;
  int timeout_seconds = 290;
};

class Api {
 public:
  virtual ~Api() = default;

  // A live (quorum) read: resourceVersion is not sent.
  virtual Result<Json> Get(const ObjectRef& ref, std::int64_t timeout_ms) = 0;
  virtual Result<Json> List(const ResourceType& type, const ListOptions& options,
                            std::int64_t timeout_ms) = 0;
  virtual Result<Json> Create(const ResourceType& type, const std::string& namespace_name,
                              const Json& object, std::int64_t timeout_ms) = 0;
  // PUT; metadata.resourceVersion in `object` makes it a compare-and-swap. subresource "" or
  // "status". Returns the stored object.
  virtual Result<Json> Replace(const ObjectRef& ref, const std::string& subresource,
                               const Json& object, std::int64_t timeout_ms) = 0;
  // Server-side apply, force on: for objects that we own. metadata.resourceVersion in `object`
  // makes it conditional.
  virtual Result<Json> Apply(const ObjectRef& ref, const std::string& field_manager,
                             const Json& object, std::int64_t timeout_ms) = 0;
  // JSON merge patch; metadata.resourceVersion and metadata.uid in `patch` make it conditional.
  virtual Result<Json> MergePatch(const ObjectRef& ref, const std::string& subresource,
                                  const Json& patch, std::int64_t timeout_ms) = 0;
  // Never without a UID. grace_seconds < 0: the object's own.
  virtual Result<void> Delete(const ObjectRef& ref, const Preconditions& preconditions,
                              int grace_seconds, std::int64_t timeout_ms) = 0;
};

// The stream side, apart from Api because only the reflector needs it: lines of JSON, one watch
// event each, without their line ends. Callbacks run on the transport's thread, in order: they
// must hand over and return.
class WatchStream {
 public:
  virtual ~WatchStream() = default;
  // Idempotent, any thread. After it returns no callback starts.
  virtual void Cancel() = 0;
};

class WatchApi {
 public:
  virtual ~WatchApi() = default;
  // on_end is called exactly once: no error = the server ended the stream cleanly.
  virtual std::unique_ptr<WatchStream> Watch(
      const ResourceType& type, const WatchOptions& options,
      std::function<void(std::string line)> on_line,
      std::function<void(std::optional<Error> error)> on_end) = 0;
};

}  // namespace regroup::kube
