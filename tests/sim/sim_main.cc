// regroup-sim: runs seeds of the deterministic simulator.
//   regroup-sim --seeds 1..1000        a campaign; exit 1 if a safety rule was violated
//   regroup-sim --seed 17 --trace      one schedule, readable
//   --without RULE                     switches one rule of design section 4 off in the planner
//   --keep-going                       does not stop a campaign at 10 violating seeds
#include <cstdio>
#include <cstring>
#include <map>
#include <string>

#include "operator/base/clock.h"
#include "operator/base/log.h"
#include "tests/sim/schedule.h"

namespace {

using regroup::model::PlanOptions;
using regroup::sim::RunSeed;
using regroup::sim::SeedOptions;
using regroup::sim::SeedResult;

struct Arguments {
  std::uint64_t first = 1;
  std::uint64_t last = 100;
  SeedOptions options;
  std::string without;
  bool keep_going = false;
};

struct Totals {
  std::uint64_t seeds = 0;
  std::uint64_t events = 0;
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  std::int64_t virtual_ms = 0;
  std::int64_t violating = 0;
  std::int64_t unserved = 0;
  std::int64_t stalled = 0;
  std::int64_t unwhole = 0;
  std::int64_t served_ms_worst = 0;
  std::map<std::string, std::int64_t> counters;
  std::map<std::string, std::int64_t> rules;
};

bool SwitchOff(PlanOptions& options, const std::string& rule) {
  const std::map<std::string, bool PlanOptions::*> rules = {
      {"born-fenced", &PlanOptions::born_fenced},
      {"record-first", &PlanOptions::record_first},
      {"authority", &PlanOptions::authority},
      {"order", &PlanOptions::order},
      {"proof", &PlanOptions::proof},
      {"write-guard", &PlanOptions::write_guard},
      {"candidate", &PlanOptions::candidate},
      {"following", &PlanOptions::following},
      {"nothing-promotable", &PlanOptions::nothing_promotable},
      {"endpoints", &PlanOptions::endpoints},
      {"no-record", &PlanOptions::no_record},
      {"kill-not-wait", &PlanOptions::kill_not_wait},
      {"not-on-one-view", &PlanOptions::not_on_one_view},
      {"planned", &PlanOptions::planned},
      {"old-clients", &PlanOptions::old_clients},
      {"removal", &PlanOptions::removal},
      {"cool-down", &PlanOptions::cool_down},
      {"one-group", &PlanOptions::one_group},
      {"uid-preconditions", &PlanOptions::uid_preconditions},
      {"quiet", &PlanOptions::quiet},
      {"read-your-writes", &PlanOptions::read_your_writes}};
  const auto it = rules.find(rule);
  if (it == rules.end()) {
    std::fprintf(stderr, "unknown rule '%s'; rules:", rule.c_str());
    for (const auto& [name, member] : rules) std::fprintf(stderr, " %s", name.c_str());
    std::fprintf(stderr, "\n");
    return false;
  }
  options.*(it->second) = false;
  return true;
}

bool Parse(int argc, char** argv, Arguments* arguments) {
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const std::string value = i + 1 < argc ? argv[i + 1] : "";
    if (flag == "--trace") {
      arguments->options.print_trace = true;
    } else if (flag == "--keep-going") {
      arguments->keep_going = true;
    } else if (flag == "--seed" && !value.empty()) {
      arguments->first = arguments->last = std::stoull(value);
      ++i;
    } else if (flag == "--seeds" && value.find("..") != std::string::npos) {
      arguments->first = std::stoull(value);
      arguments->last = std::stoull(value.substr(value.find("..") + 2));
      ++i;
    } else if (flag == "--without" && !value.empty()) {
      arguments->without = value;
      if (!SwitchOff(arguments->options.plan, value)) return false;
      ++i;
    } else {
      std::fprintf(stderr, "usage: regroup-sim [--seeds A..B | --seed N] [--trace] "
                           "[--without RULE] [--keep-going]\n");
      return false;
    }
  }
  return true;
}

void Report(std::uint64_t seed, const Arguments& arguments, const SeedResult& result) {
  const std::string without = arguments.without.empty() ? "" : " --without " + arguments.without;
  for (const auto& violation : result.violations) {
    std::printf("seed %llu: %s: %s\n", static_cast<unsigned long long>(seed),
                violation.rule.c_str(), violation.text.c_str());
  }
  if (!result.violations.empty()) {
    std::printf("  repeat: regroup-sim --seed %llu --trace%s\n",
                static_cast<unsigned long long>(seed), without.c_str());
  }
  if (result.needs_human) return;
  if (!result.served) {
    std::printf("seed %llu: liveness: not served 60 s after the last fault\n    %s\n",
                static_cast<unsigned long long>(seed), result.picture.c_str());
  } else if (!result.whole) {
    std::printf("seed %llu: liveness: not whole 120 s after the last fault\n    %s\n",
                static_cast<unsigned long long>(seed), result.picture.c_str());
  }
}

void Add(Totals& totals, const SeedResult& result) {
  ++totals.seeds;
  totals.events += result.events;
  totals.hash = (totals.hash ^ result.trace_hash) * 0x100000001b3ULL;
  totals.virtual_ms += result.virtual_ms;
  totals.violating += result.violations.empty() ? 0 : 1;
  totals.stalled += result.needs_human ? 1 : 0;
  totals.unserved += result.served || result.needs_human ? 0 : 1;
  totals.unwhole += result.whole || result.needs_human ? 0 : 1;
  if (result.served_after_ms > totals.served_ms_worst) {
    totals.served_ms_worst = result.served_after_ms;
  }
  for (const auto& [what, count] : result.counters) totals.counters[what] += count;
  for (const auto& violation : result.violations) ++totals.rules[violation.rule];
}

void PrintTotals(const Totals& totals, double seconds) {
  std::printf("\nschedules: %llu, %.1f virtual hours, %.1f seeds/s\n",
              static_cast<unsigned long long>(totals.seeds),
              static_cast<double>(totals.virtual_ms) / 3.6e6,
              static_cast<double>(totals.seeds) / seconds);
  for (const auto& [what, count] : totals.counters) {
    std::printf("  %-60s %lld\n", what.c_str(), static_cast<long long>(count));
  }
  std::printf("liveness: %lld not served in 60 s, %lld not whole in 120 s, %lld wait for a human, "
              "slowest %lld ms\n",
              static_cast<long long>(totals.unserved), static_cast<long long>(totals.unwhole),
              static_cast<long long>(totals.stalled),
              static_cast<long long>(totals.served_ms_worst));
  for (const auto& [rule, count] : totals.rules) {
    std::printf("violations of %s: %lld\n", rule.c_str(), static_cast<long long>(count));
  }
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  if (!Parse(argc, argv, &arguments)) return 2;
  regroup::SetLogLevel(arguments.options.print_trace ? regroup::LogLevel::kInfo
                                                     : regroup::LogLevel::kError);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const regroup::MonoMs begin = regroup::SystemClock().Now();
  Totals totals;
  for (std::uint64_t seed = arguments.first; seed <= arguments.last; ++seed) {
    const SeedResult result = RunSeed(seed, arguments.options);
    Report(seed, arguments, result);
    Add(totals, result);
    if (totals.violating >= 10 && !arguments.keep_going) break;
  }
  const double seconds = static_cast<double>(regroup::SystemClock().Now() - begin) / 1000.0 + 0.001;
  PrintTotals(totals, seconds);
  std::printf("seed %llu schedules %llu events %llu violations %lld trace %016llx\n",
              static_cast<unsigned long long>(arguments.first),
              static_cast<unsigned long long>(totals.seeds),
              static_cast<unsigned long long>(totals.events),
              static_cast<long long>(totals.violating),
              static_cast<unsigned long long>(totals.hash));
  return totals.violating == 0 ? 0 : 1;
}
