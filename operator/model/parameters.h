// The engine parameters that a user may set: a typed allow-list per engine and version, one
// serialiser that quotes, and the operator-owned names with the reason why each is refused.
// Thread: pure functions. Source: design section 3 of the main-job issue, notes reliability D
// (config injection: a newline in a CRD string wrote arbitrary directives elsewhere).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "operator/base/error.h"
#include "operator/model/replication_group.h"

namespace regroup::model {

enum class ParameterChange { kImmediate, kRequiresRestart };

struct ParameterRule {
  enum class Type { kInteger, kMemory, kEnum, kBool, kText };
  std::string name;
  Type type = Type::kText;
  std::int64_t min = 0;
  std::int64_t max = 0;
  std::vector<std::string> values;  // of an enum
  ParameterChange change = ParameterChange::kImmediate;
  std::string since_redis = "7.0";    // empty: not in this engine
  std::string since_valkey = "7.2";
};

// nullptr when the name is not in the list for that engine and version.
const ParameterRule* FindParameter(Engine engine, const std::string& version,
                                   const std::string& name);
// Not empty when the operator owns that name: the reason, in words for a user.
std::string OwnedReason(const std::string& name);
// kInvalid names the parameter, what is wrong, and what would be right.
Result<void> CheckParameter(Engine engine, const std::string& version, const std::string& name,
                            const std::string& value);
// One line of redis.conf, quoted as sdscatrepr does; the only place that writes a config line.
std::string ConfigLine(const std::string& name, const std::vector<std::string>& words);

}  // namespace regroup::model
