// nlohmann::json with getters that never throw: Kubernetes objects come from outside, and a field
// of an unexpected type must read as absent, not end a thread.
// Thread: plain functions. Lifetime: returned references live as long as the document.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "operator/base/error.h"

namespace regroup {

using Json = nlohmann::json;

// The child under `key`, or a shared null where `object` is no object or has none.
const Json& Child(const Json& object, std::string_view key);
// The child down a path such as {"metadata", "name"}.
const Json& At(const Json& object, std::initializer_list<std::string_view> path);
std::string Str(const Json& value, std::string_view fallback = "");
std::int64_t Int(const Json& value, std::int64_t fallback = 0);
bool Bool(const Json& value, bool fallback = false);

// Parses without exceptions; nesting deeper than 100 levels is refused (hostile input).
Result<Json> ParseJson(std::string_view text);

}  // namespace regroup
