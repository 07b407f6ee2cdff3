#include "operator/model/catalogue.h"

#include <charconv>
#include <cmath>
#include <cstdlib>

#include "operator/base/json.h"

namespace regroup::model {

namespace {

constexpr double kDefaultReserve = 0.25;  // ElastiCache's reserved-memory-percent
constexpr double kQuantityMax = 9e18;      // fits an int64
constexpr double kCpuMax = 1e6;            // with or without "m", fits an int as milli

std::string Names(const std::map<std::string, std::string>& map, const std::string& prefix) {
  std::string out;
  for (const auto& [name, value] : map) {
    if (name.rfind(prefix, 0) != 0) continue;
    out += (out.empty() ? "" : ", ") + name.substr(prefix.size());
  }
  return out;
}

// strtod alone would take " 1", "0x10", "inf" and "nan".
bool StartsLikeANumber(const std::string& text) {
  const std::size_t at = text.find_first_not_of("+-.0123456789");
  return !text.empty() && at != 0 && (at == std::string::npos || text[at] != 'x');
}

}  // namespace

Result<std::int64_t> ParseQuantity(const std::string& text) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  const std::string suffix = end == nullptr ? "" : end;
  static const std::map<std::string, double> kUnits{
      {"", 1.0},    {"m", 1e-3},   {"k", 1e3},           {"M", 1e6},           {"G", 1e9},
      {"T", 1e12},  {"P", 1e15},   {"Ki", 1024.0},       {"Mi", 1048576.0},    {"Gi", 1073741824.0},
      {"Ti", 1099511627776.0}};
  const auto unit = kUnits.find(suffix);
  if (!StartsLikeANumber(text) || end == text.c_str() || unit == kUnits.end() || number < 0 ||
      !(number * unit->second < kQuantityMax)) {
    return Fail(ErrorCode::kInvalid, "'" + text + "' is no quantity; write for example 512Mi or 2");
  }
  return static_cast<std::int64_t>(std::ceil(number * unit->second));
}

Result<int> ParseCpuMilli(const std::string& text) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  const std::string suffix = end == nullptr ? "" : end;
  if (!StartsLikeANumber(text) || end == text.c_str() || (suffix != "" && suffix != "m") ||
      number < 0 || !(number < kCpuMax)) {
    return Fail(ErrorCode::kInvalid, "'" + text + "' is no CPU quantity; write for example 500m");
  }
  return static_cast<int>(std::ceil(suffix == "m" ? number : number * 1000));
}

Result<Resolved> Resolve(const GroupSpec& spec, const Catalogue& catalogue) {
  Resolved resolved;
  const std::string engine = spec.engine == Engine::kRedis ? "redis/" : "valkey/";
  const auto image = catalogue.images.find(engine + spec.engine_version);
  if (image == catalogue.images.end()) {
    return Fail(ErrorCode::kInvalid, "spec.engineVersion '" + spec.engine_version +
                "' is not in the image catalogue; it has: " + Names(catalogue.images, engine) +
                ".");
  }
  resolved.image = image->second;
  if (!spec.cache_node_type.empty()) {
    const auto found = catalogue.classes.find(spec.cache_node_type);
    if (found == catalogue.classes.end()) {
      std::string known;
      for (const auto& [name, value] : catalogue.classes) {
        known += (known.empty() ? "" : ", ") + name;
      }
      return Fail(ErrorCode::kInvalid, "spec.cacheNodeType '" + spec.cache_node_type +
                  "' is not in the catalogue; it has: " + known + ".");
    }
    const NodeClass& node_class = found->second;
    resolved.resources.requests["memory"] = std::to_string(node_class.memory_bytes);
    resolved.resources.requests["cpu"] = std::to_string(node_class.cpu_milli / 10) + "m";
    resolved.resources.limits["memory"] = std::to_string(node_class.memory_bytes);
    resolved.maxmemory_bytes = node_class.maxmemory_bytes;
    return resolved;
  }
  if (!spec.resources) {
    return Fail(ErrorCode::kInvalid, "set spec.cacheNodeType or spec.resources.");
  }
  resolved.resources = *spec.resources;
  auto memory = resolved.resources.limits.find("memory");
  if (memory == resolved.resources.limits.end()) {
    memory = resolved.resources.requests.find("memory");
    if (memory == resolved.resources.requests.end()) {
      return Fail(ErrorCode::kInvalid, "spec.resources needs requests.memory, for example 512Mi.");
    }
  }
  Result<std::int64_t> bytes = ParseQuantity(memory->second);
  if (!bytes) return tl::unexpected<Error>(bytes.error());
  resolved.maxmemory_bytes =
      static_cast<std::int64_t>(static_cast<double>(*bytes) * (1 - kDefaultReserve));
  return resolved;
}

Result<Catalogue> ParseCatalogue(const std::string& json_text) {
  Result<Json> json = ParseJson(json_text);
  if (!json) return tl::unexpected<Error>(json.error());
  Catalogue catalogue;
  const Json& classes = Child(*json, "classes");
  for (const auto& [name, value] : classes.items()) {
    Result<std::int64_t> memory = ParseQuantity(Str(Child(value, "memory")));
    if (!memory) return tl::unexpected<Error>(memory.error());
    NodeClass node_class;
    node_class.memory_bytes = *memory;
    node_class.cpu_milli = static_cast<int>(Int(Child(value, "vcpu"))) * 1000;
    node_class.maxmemory_bytes = Int(Child(value, "maxmemoryBytes"));
    if (node_class.maxmemory_bytes == 0) {
      node_class.maxmemory_bytes =
          static_cast<std::int64_t>(static_cast<double>(*memory) * (1 - kDefaultReserve));
    }
    catalogue.classes[name] = node_class;
  }
  const Json& images = Child(*json, "images");
  for (const auto& [engine, versions] : images.items()) {
    if (!versions.is_object()) continue;
    for (const auto& [version, image] : versions.items()) {
      catalogue.images[engine + "/" + version] = Str(image);
    }
  }
  if (catalogue.images.empty()) {
    return Fail(ErrorCode::kInvalid, "the catalogue names no engine image");
  }
  return catalogue;
}

}  // namespace regroup::model
