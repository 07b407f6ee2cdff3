// Systematic runs: each workflow of a group once for every step that the leader makes in it, with
// one fault exactly after that step. Every run must converge, break no rule, and then be quiet.
// Thread: one; nothing is shared between runs.
#pragma once

#include <cstdint>
#include <string>

#include "tests/sim/schedule.h"

namespace regroup::sim {

// Workflow and fault as one number, from 0 to CrashCases() - 1.
std::int64_t CrashCases();
std::string CrashCaseName(std::int64_t index);

// All steps of one case; the hash and the counters of its runs put together. Violations begin with
// the step at which they were found.
SeedResult RunCrashCase(std::int64_t index, const SeedOptions& options);
// One run: the fault after step `step`. `reached` tells whether the workflow had that many steps.
SeedResult RunCrashStep(std::int64_t index, std::int64_t step, const SeedOptions& options,
                        bool* reached);

}  // namespace regroup::sim
