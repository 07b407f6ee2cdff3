// One seed is one schedule, and a campaign is the same with any number of processes.
#include "tests/sim/runner.h"

#include <gtest/gtest.h>

#include "operator/base/log.h"
#include "tests/sim/workflows.h"

namespace regroup::sim {
namespace {

TEST(Determinism, OneSeedOneTrace) {
  SetLogLevel(LogLevel::kError);
  const SeedResult first = RunSeed(7, {});
  const SeedResult second = RunSeed(7, {});
  EXPECT_EQ(first.trace_hash, second.trace_hash);
  EXPECT_EQ(first.events, second.events);
  EXPECT_EQ(first.counters, second.counters);
  EXPECT_NE(RunSeed(8, {}).trace_hash, first.trace_hash);
}

TEST(Determinism, ACampaignDoesNotDependOnTheNumberOfProcesses) {
  SetLogLevel(LogLevel::kError);
  Campaign campaign;
  campaign.first = 20;
  campaign.last = 31;
  campaign.run = [](std::uint64_t seed) { return RunSeed(seed, {}); };
  std::vector<std::uint64_t> order;
  campaign.report = [&](std::uint64_t seed, const SeedResult&) { order.push_back(seed); };
  const Totals alone = RunCampaign(campaign);
  campaign.jobs = 3;
  const Totals three = RunCampaign(campaign);
  EXPECT_EQ(alone.schedules, 12U);
  EXPECT_EQ(alone.hash, three.hash);
  EXPECT_EQ(alone.events, three.events);
  EXPECT_EQ(alone.counters, three.counters);
  ASSERT_EQ(order.size(), 24U);
  for (std::size_t i = 0; i < 24; ++i) EXPECT_EQ(order[i], 20 + i % 12);
}

TEST(Runner, AWorkerThatDiesIsNoSuccess) {
  Campaign campaign;
  campaign.jobs = 2;
  campaign.run = [](std::uint64_t) -> SeedResult { _exit(1); };
  EXPECT_TRUE(RunCampaign(campaign).worker_died);
}

TEST(Workflows, ACrashAfterAStepIsOneRun) {
  SetLogLevel(LogLevel::kError);
  bool reached = false;
  const SeedResult early = RunCrashStep(0, 2, {}, &reached);
  EXPECT_TRUE(reached);
  EXPECT_TRUE(early.whole);
  EXPECT_EQ(early.counters.count("operator crashes inside a round"), 1U);
  RunCrashStep(0, 100'000, {}, &reached);
  EXPECT_FALSE(reached);
}

}  // namespace
}  // namespace regroup::sim
