// What the chart ships as data: cache node classes (ElastiCache's cache.* types) and engine images.
// Thread: values, read once at start. Source of the class figures: AWS's published node types;
// maxmemory is ElastiCache's table for its default reserved-memory-percent of 25.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "operator/base/error.h"
#include "operator/model/replication_group.h"

namespace regroup::model {

struct NodeClass {
  std::int64_t memory_bytes = 0;
  int cpu_milli = 0;               // of the class's vCPU; the request is a tenth of it
  std::int64_t maxmemory_bytes = 0;
};

struct Catalogue {
  std::map<std::string, NodeClass> classes;   // "cache.r7g.large"
  std::map<std::string, std::string> images;  // "redis/7.0" -> image reference
};

// What a spec means once the catalogue is applied; input of render and of CONFIG SET.
struct Resolved {
  std::string image;
  Resources resources;               // final requests and limits of the engine container
  std::int64_t maxmemory_bytes = 0;
};

// kInvalid with a message that says what to do: unknown class or engine version (names those that
// the catalogue has), no memory in resources.
Result<Resolved> Resolve(const GroupSpec& spec, const Catalogue& catalogue);

// {"classes": {"cache.r7g.large": {"memory": "13.07Gi", "vcpu": 2, "maxmemoryBytes": …}},
//  "images": {"redis": {"7.0": "docker.io/library/redis:7.0"}}} as the chart's ConfigMap holds it.
Result<Catalogue> ParseCatalogue(const std::string& json_text);

// "1Gi", "500m", "2", "1e9" … in the unit's base (bytes; for CPU use ParseCpuMilli).
Result<std::int64_t> ParseQuantity(const std::string& text);
Result<int> ParseCpuMilli(const std::string& text);

}  // namespace regroup::model
