// The states that a campaign must have met to mean anything, by the names under which the checker
// counts them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace regroup::sim {

// Those of the must-reach names that were not counted.
std::vector<std::string> NeverReached(const std::map<std::string, std::int64_t>& counters);

}  // namespace regroup::sim
