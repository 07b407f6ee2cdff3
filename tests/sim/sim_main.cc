// regroup-sim: runs seeds of the deterministic simulator.
//   regroup-sim --seeds 1..1000        a campaign; exit 1 if a safety rule was violated
//   regroup-sim --seed 17 --trace      one schedule, readable
//   --minutes N                        as many seeds as begin in that time (with --seeds: at most
//                                      those); --jobs N: on so many processes
//   --crash-points                     systematic: each workflow, with one fault after each step;
//                                      --case N [--step N]: one of them
//   --without RULE                     switches one rule of design section 4 off in the planner
//   --old-records                      restores of the API server's store may undo decisions
//   --stop-at N                        stops a campaign at N violating seeds (10); 0: never
#include <cstdio>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <string>

#include "operator/base/clock.h"
#include "operator/base/log.h"
#include "tests/sim/coverage.h"
#include "tests/sim/runner.h"
#include "tests/sim/workflows.h"

namespace {

using regroup::model::PlanOptions;
using regroup::sim::Campaign;
using regroup::sim::RunSeed;
using regroup::sim::SeedOptions;
using regroup::sim::SeedResult;
using regroup::sim::Totals;

struct Arguments {
  std::uint64_t first = 1;
  std::optional<std::uint64_t> last;
  std::int64_t minutes = 0;
  int jobs = 1;
  bool crash_points = false;
  std::int64_t step = -1;
  SeedOptions options;
  std::string without;
  std::int64_t violating_max = 10;
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

constexpr char kUsage[] =
    "usage: regroup-sim [--seeds A..B | --seed N | --crash-points [--case N [--step N]]]\n"
    "                   [--minutes N] [--jobs N] [--trace] [--without RULE] [--old-records]\n"
    "                   [--stop-at N]\n";

bool ParseSeeds(const std::string& value, Arguments* arguments) {
  const std::size_t dots = value.find("..");
  if (dots == std::string::npos) return false;
  arguments->first = std::stoull(value);
  arguments->last = std::stoull(value.substr(dots + 2));
  return true;
}

// False: `flag` is no flag with a value.
bool ParseValue(const std::string& flag, const std::string& value, Arguments* arguments) {
  if (value.empty()) return false;
  if (flag == "--seeds") return ParseSeeds(value, arguments);
  if (flag == "--seed" || flag == "--case") {
    arguments->crash_points = arguments->crash_points || flag == "--case";
    arguments->first = std::stoull(value);
    arguments->last = arguments->first;
  } else if (flag == "--step") {
    arguments->step = std::stoll(value);
  } else if (flag == "--minutes") {
    arguments->minutes = std::stoll(value);
  } else if (flag == "--stop-at") {
    arguments->violating_max = std::stoll(value);
  } else if (flag == "--jobs") {
    arguments->jobs = std::stoi(value);
  } else if (flag == "--without") {
    arguments->without = value;
    return SwitchOff(arguments->options.plan, value);
  } else {
    return false;
  }
  return true;
}

bool Parse(int argc, char** argv, Arguments* arguments) {
  arguments->options.neighbours = true;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--trace") {
      arguments->options.print_trace = true;
    } else if (flag == "--old-records") {
      arguments->options.old_records = true;
    } else if (flag == "--crash-points") {
      arguments->crash_points = true;
    } else if (ParseValue(flag, i + 1 < argc ? argv[i + 1] : "", arguments)) {
      ++i;
    } else {
      std::fprintf(stderr, "%s", kUsage);
      return false;
    }
  }
  if (arguments->options.print_trace) arguments->jobs = 1;
  return true;
}

std::string Repeat(std::uint64_t seed, const Arguments& arguments) {
  const std::string without = arguments.without.empty() ? "" : " --without " + arguments.without;
  return std::string(arguments.crash_points ? "--case " : "--seed ") + std::to_string(seed) +
         without + " --trace";
}

void Report(std::uint64_t seed, const Arguments& arguments, const SeedResult& result) {
  const std::string name =
      arguments.crash_points
          ? "case " + std::to_string(seed) + " (" +
                regroup::sim::CrashCaseName(static_cast<std::int64_t>(seed)) + ")"
          : "seed " + std::to_string(seed);
  for (const auto& violation : result.violations) {
    std::printf("%s: %s: %s\n", name.c_str(), violation.rule.c_str(), violation.text.c_str());
  }
  if (result.violations.empty()) return;
  std::printf("    %s\n  repeat: ./dev sim %s\n", result.picture.c_str(),
              Repeat(seed, arguments).c_str());
}

void PrintTotals(const Totals& totals, const Arguments& arguments, double seconds) {
  std::printf("\nschedules: %llu, of them %llu with a failover (%lld failovers); %.1f virtual "
              "hours; %.1f seeds/s in %.0f s\n",
              static_cast<unsigned long long>(totals.schedules),
              static_cast<unsigned long long>(totals.with_failover),
              static_cast<long long>(totals.failovers),
              static_cast<double>(totals.virtual_ms) / 3.6e6,
              static_cast<double>(totals.schedules) / seconds, seconds);
  for (const auto& [what, count] : totals.counters) {
    std::printf("  %-60s %lld\n", what.c_str(), static_cast<long long>(count));
  }
  if (!arguments.crash_points) {
    for (const std::string& state : regroup::sim::NeverReached(totals.counters)) {
      std::printf("NEVER REACHED: %s\n", state.c_str());
    }
  }
  std::printf("liveness: %lld not served in 70 s, %lld not whole in 120 s, %lld wait for a human, "
              "slowest %lld ms\n",
              static_cast<long long>(totals.unserved), static_cast<long long>(totals.unwhole),
              static_cast<long long>(totals.need_human),
              static_cast<long long>(totals.served_ms_worst));
  for (const auto& [rule, count] : totals.rules) {
    std::printf("violations of %s: %lld\n", rule.c_str(), static_cast<long long>(count));
  }
}

Campaign CampaignOf(const Arguments& arguments) {
  Campaign campaign;
  campaign.first = arguments.first;
  const std::uint64_t open_end =
      arguments.minutes > 0 ? std::numeric_limits<std::uint64_t>::max() - 1 : 100;
  campaign.last = arguments.last.value_or(open_end);
  campaign.jobs = arguments.jobs;
  campaign.milliseconds = arguments.minutes * 60'000;
  campaign.violating_max = arguments.violating_max;
  campaign.run = [&arguments](std::uint64_t seed) { return RunSeed(seed, arguments.options); };
  if (arguments.crash_points) {
    if (!arguments.last) {
      campaign.first = 0;
      campaign.last = static_cast<std::uint64_t>(regroup::sim::CrashCases()) - 1;
    }
    campaign.run = [&arguments](std::uint64_t index) {
      const auto number = static_cast<std::int64_t>(index);
      if (arguments.step < 0) return regroup::sim::RunCrashCase(number, arguments.options);
      bool reached = false;
      return regroup::sim::RunCrashStep(number, arguments.step, arguments.options, &reached);
    };
  }
  campaign.report = [&arguments](std::uint64_t seed, const SeedResult& result) {
    Report(seed, arguments, result);
  };
  return campaign;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  if (!Parse(argc, argv, &arguments)) return 2;
  regroup::SetLogLevel(arguments.options.print_trace ? regroup::LogLevel::kInfo
                                                     : regroup::LogLevel::kError);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const regroup::MonoMs begin = regroup::SystemClock().Now();
  const Campaign campaign = CampaignOf(arguments);
  const Totals totals = RunCampaign(campaign);
  const double seconds = static_cast<double>(regroup::SystemClock().Now() - begin) / 1000.0 + 0.001;
  PrintTotals(totals, arguments, seconds);
  if (totals.worker_died) std::printf("a process of the run died: the simulated code crashed\n");
  std::printf("seed %llu schedules %llu events %llu violations %lld trace %016llx\n",
              static_cast<unsigned long long>(campaign.first),
              static_cast<unsigned long long>(totals.schedules),
              static_cast<unsigned long long>(totals.events),
              static_cast<long long>(totals.violating),
              static_cast<unsigned long long>(totals.hash));
  return totals.violating == 0 && !totals.worker_died ? 0 : 1;
}
