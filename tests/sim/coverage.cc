#include "tests/sim/coverage.h"

namespace regroup::sim {
namespace {

// The operator's side.
const char* const kOperatorStates[] = {
    "failovers",
    "leaderships ended: the lease could not be renewed in time",
    "leaderships ended: the lease was taken",
    "operator crashes at rest",
    "operator crashes inside a round",
    "gave way to another group",
    "paused leader, at rest",
    "paused leader, inside a round",
    "paused leader resumed, another leads",
    "failed passes",
    "rounds dropped: conflict",
    "lost replies",
    "lost reply of a record read back",
    "lists",
    "list by pages",
    "watch restarts: Gone",
    "watch restarts: TooManyRequests",
    "watch restarts: Unavailable",
    "watch silent until the idle limit",
    "operator finds the store set back",
    "calm for a moment",
    "calm for long",
};

}  // namespace

std::vector<std::string> NeverReached(const std::map<std::string, std::int64_t>& counters) {
  std::vector<std::string> missing;
  for (const char* state : kOperatorStates) {
    const auto it = counters.find(state);
    if (it == counters.end() || it->second == 0) missing.emplace_back(state);
  }
  return missing;
}

}  // namespace regroup::sim
