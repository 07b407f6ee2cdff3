#include "operator/kube/client.h"

namespace regroup::kube {

namespace {

std::string Query(const std::vector<std::pair<std::string, std::string>>& parts) {
  std::string out;
  for (const auto& [key, value] : parts) {
    if (value.empty()) continue;
    out += (out.empty() ? "?" : "&") + key + "=" + EncodeQuery(value);
  }
  return out;
}

// The end of the array that begins at `at`, or npos; strings in it may hold brackets.
std::size_t EndOfArray(std::string_view text, std::size_t at) {
  int depth = 0;
  for (bool in_string = false; at < text.size(); ++at) {
    const char c = text[at];
    if (in_string && c == '\\') ++at;
    else if (c == '"') in_string = !in_string;
    else if (in_string) continue;
    else if (c == '[') ++depth;
    else if (c == ']' && --depth == 0) return at + 1;
  }
  return std::string_view::npos;
}

ErrorCode CodeOf(int status, const std::string& reason) {
  switch (status) {
    case 400: case 405: case 406: case 413: case 415: case 422: return ErrorCode::kInvalid;
    case 401: case 403: return ErrorCode::kForbidden;
    case 404: return ErrorCode::kNotFound;
    case 409: return reason == "AlreadyExists" ? ErrorCode::kAlreadyExists : ErrorCode::kConflict;
    case 410: return ErrorCode::kGone;
    case 412: return ErrorCode::kConflict;
    case 429: return ErrorCode::kTooManyRequests;
    case 504: return ErrorCode::kDeadlineExceeded;
    default: return status >= 500 ? ErrorCode::kUnavailable : ErrorCode::kInternal;
  }
}

}  // namespace

Result<Json> ParseObject(std::string_view text) {
  // Within a string each quote has a backslash, so these bytes are nowhere else than at the key.
  static constexpr std::string_view kKey = "\"managedFields\":[";
  std::string kept;
  std::size_t from = 0;
  for (std::size_t at = text.find(kKey); at != std::string_view::npos; at = text.find(kKey, from)) {
    const std::size_t end = EndOfArray(text, at + kKey.size() - 1);
    if (end == std::string_view::npos) break;
    kept.append(text.substr(from, at + kKey.size() - from)).push_back(']');
    from = end;
  }
  if (from == 0) return ParseJson(text);
  return ParseJson(kept.append(text.substr(from)));
}

std::string EncodeQuery(const std::string& text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || c == '-' || c == '_' || c == '.' || c == '~') {
      out.push_back(c);
    } else {
      out.push_back('%');
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    }
  }
  return out;
}

std::string PathOf(const ResourceType& type, const std::string& namespace_name,
                   const std::string& name, const std::string& subresource) {
  std::string path = type.group.empty() ? "/api/" + type.version
                                        : "/apis/" + type.group + "/" + type.version;
  if (type.namespaced && !namespace_name.empty()) path += "/namespaces/" + namespace_name;
  path += "/" + type.resource;
  if (!name.empty()) path += "/" + name;
  if (!subresource.empty()) path += "/" + subresource;
  return path;
}

Error ErrorOfStatus(int status, const std::string& body, std::int64_t retry_after_ms) {
  std::string message = "HTTP " + std::to_string(status);
  std::string reason;
  if (Result<Json> json = ParseJson(body)) {
    reason = Str(Child(*json, "reason"));
    const std::string text = Str(Child(*json, "message"));
    if (!text.empty()) message += ": " + text;
  }
  return Error{CodeOf(status, reason), message, status, retry_after_ms};
}

Client::Client(std::unique_ptr<Transport> transport, const Clock& clock, CallObserver observer)
    : transport_(std::move(transport)), clock_(clock), observer_(std::move(observer)) {}

Result<std::unique_ptr<Client>> Client::Create(const ClientConfig& config, const Clock& clock,
                                               CallObserver observer) {
  Result<std::unique_ptr<Transport>> transport = MakeTransport(config, clock);
  if (!transport) return tl::unexpected<Error>(transport.error());
  return std::unique_ptr<Client>(new Client(std::move(*transport), clock, std::move(observer)));
}

Result<Json> Client::Call(std::string_view verb, HttpRequest request) {
  const MonoMs begin = clock_.Now();
  Result<HttpResponse> response = transport_->Call(request);
  if (observer_) observer_(verb, response ? response->status : 0, clock_.Now() - begin);
  if (!response) return tl::unexpected<Error>(response.error());
  if (response->status >= 300) {
    return tl::unexpected<Error>(
        ErrorOfStatus(response->status, response->body, response->retry_after_ms));
  }
  return ParseObject(response->body);
}

Result<Json> Client::Get(const ObjectRef& ref, std::int64_t timeout_ms) {
  return Call("get", {"GET", PathOf(ref.type, ref.namespace_name, ref.name, ""), "", "",
                      timeout_ms});
}

Result<Json> Client::List(const ResourceType& type, const ListOptions& options,
                          std::int64_t timeout_ms) {
  const std::string limit = options.limit > 0 ? std::to_string(options.limit) : "";
  const std::string query = Query({{"labelSelector", options.label_selector},
                                   {"fieldSelector", options.field_selector},
                                   {"resourceVersion", options.resource_version},
                                   {"resourceVersionMatch", options.resource_version_match},
                                   {"limit", limit},
                                   {"continue", options.continue_token}});
  return Call("list", {"GET", PathOf(type, options.namespace_name, "", "") + query, "", "",
                       timeout_ms});
}

Result<Json> Client::Create(const ResourceType& type, const std::string& namespace_name,
                            const Json& object, std::int64_t timeout_ms) {
  return Call("create", {"POST", PathOf(type, namespace_name, "", ""), "application/json",
                         object.dump(), timeout_ms});
}

Result<Json> Client::Replace(const ObjectRef& ref, const std::string& subresource,
                             const Json& object, std::int64_t timeout_ms) {
  return Call("update", {"PUT", PathOf(ref.type, ref.namespace_name, ref.name, subresource),
                         "application/json", object.dump(), timeout_ms});
}

Result<Json> Client::Apply(const ObjectRef& ref, const std::string& field_manager,
                           const Json& object, std::int64_t timeout_ms) {
  const std::string query = Query({{"fieldManager", field_manager}, {"force", "true"}});
  return Call("apply", {"PATCH", PathOf(ref.type, ref.namespace_name, ref.name, "") + query,
                        "application/apply-patch+yaml", object.dump(), timeout_ms});
}

Result<Json> Client::MergePatch(const ObjectRef& ref, const std::string& subresource,
                                const Json& patch, std::int64_t timeout_ms) {
  return Call("patch", {"PATCH", PathOf(ref.type, ref.namespace_name, ref.name, subresource),
                        "application/merge-patch+json", patch.dump(), timeout_ms});
}

Result<void> Client::Delete(const ObjectRef& ref, const Preconditions& preconditions,
                            int grace_seconds, std::int64_t timeout_ms) {
  Json options{{"apiVersion", "v1"}, {"kind", "DeleteOptions"},
               {"propagationPolicy", "Background"}};
  options["preconditions"]["uid"] = preconditions.uid;
  if (!preconditions.resource_version.empty()) {
    options["preconditions"]["resourceVersion"] = preconditions.resource_version;
  }
  if (grace_seconds >= 0) options["gracePeriodSeconds"] = grace_seconds;
  Result<Json> answer = Call("delete", {"DELETE", PathOf(ref.type, ref.namespace_name, ref.name,
                                                         ""),
                                        "application/json", options.dump(), timeout_ms});
  if (!answer) return tl::unexpected<Error>(answer.error());
  return {};
}

std::unique_ptr<WatchStream> Client::Watch(
    const ResourceType& type, const WatchOptions& options,
    std::function<void(std::string line)> on_line,
    std::function<void(std::optional<Error> error)> on_end) {
  const bool initial = options.send_initial_events;
  const std::string query =
      Query({{"watch", "1"},
             {"allowWatchBookmarks", "true"},
             {"sendInitialEvents", initial ? "true" : ""},
             {"resourceVersionMatch", initial ? "NotOlderThan" : ""},
             {"labelSelector", options.label_selector},
             {"fieldSelector", options.field_selector},
             {"resourceVersion", options.resource_version},
             {"timeoutSeconds", std::to_string(options.timeout_seconds)}});
  if (observer_) observer_("watch", 200, 0);
  return transport_->Stream(PathOf(type, options.namespace_name, "", "") + query,
                            std::move(on_line), std::move(on_end));
}

}  // namespace regroup::kube
