// Runs many seeds on several processes. A seed's result depends on the seed alone, and results are
// put together in the order of seeds: the total hash is the same with any number of jobs.
// Thread: one; the workers are forked before any thread exists. POSIX pipes.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "tests/sim/schedule.h"

namespace regroup::sim {

struct Campaign {
  std::uint64_t first = 1;
  std::uint64_t last = 100;
  int jobs = 1;
  std::int64_t milliseconds = 0;  // no new seed is begun after that time; 0: no limit
  std::int64_t violating_max = 10;  // stops there; 0: no limit
  std::function<SeedResult(std::uint64_t seed)> run;
  std::function<void(std::uint64_t seed, const SeedResult& result)> report;  // in order
};

struct Totals {
  std::uint64_t schedules = 0;
  std::uint64_t with_failover = 0;
  std::int64_t failovers = 0;
  std::uint64_t events = 0;
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  std::int64_t virtual_ms = 0;
  std::int64_t violating = 0;
  std::int64_t unserved = 0;
  std::int64_t unwhole = 0;
  std::int64_t need_human = 0;  // not served or whole; the condition Stalled says why
  std::int64_t served_ms_worst = 0;
  bool worker_died = false;  // a crash of the simulated code itself
  std::map<std::string, std::int64_t> counters;
  std::map<std::string, std::int64_t> rules;

  void Add(const SeedResult& result);
};

Totals RunCampaign(const Campaign& campaign);

}  // namespace regroup::sim
