// How often a group's members are asked for INFO, a pure function of its pace, and how long an
// answer may be owed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "operator/redis/fleet.h"

namespace regroup::redis {

// At rest INFO once a second and nothing else (design 1.2); 10 Hz while a member is suspected.
inline std::int64_t PollIntervalMs(Pace pace) {
  switch (pace) {
    case Pace::kRest: return 1000;
    case Pace::kSuspect: return 100;
    case Pace::kUrgent: return 40;
  }
  return 1000;
}

inline constexpr std::int64_t kUnackedGoneMs = 350;  // a question not acknowledged: no host
inline constexpr std::int64_t kSilentMs = 500;       // acknowledged, not answered: it hangs

// How many members are asked faster than at rest.
struct FastMembers {
  std::size_t suspect = 0;
  std::size_t urgent = 0;
};

// Each kind of haste has a budget that its members share: where a zone fails or hundreds of groups
// are made, more questions would only keep the thread, and the API server, from the answers.
// Urgent ones, a failover under way, never wait for the others. Never slower than at rest.
inline std::int64_t SharedIntervalMs(Pace pace, const FastMembers& fast) {
  constexpr std::size_t kAsksPerSecond = 2000;
  const std::size_t sharers = pace == Pace::kUrgent ? fast.urgent : fast.suspect + fast.urgent;
  const auto share_ms = static_cast<std::int64_t>(sharers * 1000 / kAsksPerSecond);
  return std::min(std::max(PollIntervalMs(pace), share_ms), PollIntervalMs(Pace::kRest));
}

// At rest each member has its turn in the second, and many share one: thousands of members wake the
// thread twenty times a second, not thousands of times. `spread` is any number of the member's own.
inline std::int64_t UntilTurnMs(MonoMs now, std::uint64_t spread) {
  constexpr std::int64_t kTurnMs = 50;
  const std::int64_t period_ms = PollIntervalMs(Pace::kRest);
  const auto turns = static_cast<std::uint64_t>(period_ms / kTurnMs);
  const std::int64_t turn_ms = static_cast<std::int64_t>(spread % turns) * kTurnMs;
  return period_ms - (now + period_ms - turn_ms) % period_ms;
}

// How long until a member that has just answered is asked again.
inline std::int64_t UntilAskedMs(Pace pace, MonoMs now, std::uint64_t spread,
                                 const FastMembers& fast) {
  return pace == Pace::kRest ? UntilTurnMs(now, spread) : SharedIntervalMs(pace, fast);
}

// How long until a connection that was lost or could not be made is tried again; `failures` begins
// with 1. The first times at once: the kernel closes a killed process' listener last, so an attempt
// upon the FIN may still be taken and then reset, and a refusal is half of the proof (rule proof).
inline std::int64_t ReconnectDelayMs(Pace pace, int failures) {
  constexpr int kQuick = 5;
  const std::int64_t rest_ms = failures <= kQuick ? std::int64_t{5} << std::max(failures - 2, 0)
                               : failures < 10    ? 100
                               : failures < 25    ? 300
                                                  : 1000;
  if (pace == Pace::kUrgent) return std::min<std::int64_t>(rest_ms, 20);
  if (pace == Pace::kSuspect) return std::min<std::int64_t>(rest_ms, 50);
  return rest_ms;
}

}  // namespace regroup::redis
