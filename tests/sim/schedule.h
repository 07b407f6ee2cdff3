// One seed: a group of three members in three zones, two operators, and a schedule of faults drawn
// by swarm testing (each seed leaves some kinds out); then the faults stop and the group must be
// served again. Source: notes reliability E (fault matrix), FoundationDB's swarm.
// Thread: one; nothing is shared between runs.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/sim/scene.h"

namespace regroup::sim {

using SeedOptions = SceneOptions;

struct SeedResult {
  std::vector<Violation> violations;
  std::int64_t failovers = 0;
  bool came_up = false;               // served before the first timed fault, or in the end
  bool served = false;                // within 60 s after the last fault
  bool needs_human = false;           // not served or whole; the condition Stalled says why
  bool whole = false;                 // all members in sync within 120 s
  std::int64_t served_after_ms = -1;
  std::uint64_t events = 0;
  std::uint64_t trace_hash = 0;
  std::int64_t virtual_ms = 0;
  std::map<std::string, std::int64_t> counters;
  std::string picture;  // at the end
};

SeedResult RunSeed(std::uint64_t seed, const SeedOptions& options);

}  // namespace regroup::sim
