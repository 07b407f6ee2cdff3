#include "operator/base/json.h"

namespace regroup {
namespace {

constexpr int kDepthMax = 100;

bool TooDeep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      else if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kDepthMax) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

}  // namespace

const Json& Child(const Json& object, std::string_view key) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(std::string(key));
  return found == object.end() ? kNull : *found;
}

const Json& At(const Json& object, std::initializer_list<std::string_view> path) {
  const Json* here = &object;
  for (const std::string_view key : path) here = &Child(*here, key);
  return *here;
}

std::string Str(const Json& value, std::string_view fallback) {
  return value.is_string() ? value.get<std::string>() : std::string(fallback);
}

std::int64_t Int(const Json& value, std::int64_t fallback) {
  return value.is_number_integer() ? value.get<std::int64_t>() : fallback;
}

bool Bool(const Json& value, bool fallback) {
  return value.is_boolean() ? value.get<bool>() : fallback;
}

Result<Json> ParseJson(std::string_view text) {
  if (TooDeep(text)) return Fail(ErrorCode::kInvalid, "JSON is nested deeper than 100 levels");
  Json parsed = Json::parse(text, nullptr, false);
  if (parsed.is_discarded()) return Fail(ErrorCode::kInvalid, "not valid JSON");
  return parsed;
}

}  // namespace regroup
