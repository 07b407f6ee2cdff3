#include "operator/plan/cool_down.h"

#include <algorithm>

namespace regroup::plan {

namespace {

constexpr std::int64_t kMostMs = 300'000;
constexpr int kDoublingsMax = 10;

std::int64_t CoolDownMs(const model::GroupSpec& spec, int streak) {
  const std::int64_t base_ms = std::int64_t{1000} * spec.failover.cool_down_seconds;
  if (base_ms == 0 || streak < 1) return 0;
  const int doublings = std::min(streak - 1, kDoublingsMax);
  return std::clamp(base_ms << doublings, base_ms, std::max(base_ms, kMostMs));
}

// A clock that was stepped back tells nothing; then our own time in office counts.
std::int64_t SinceAutomaticMs(const model::Observed& seen, const model::LastFailover& last) {
  const std::int64_t by_wall_ms = seen.wall_now - last.automatic_wall_ms;
  return by_wall_ms >= 0 ? by_wall_ms : seen.now - seen.memory.leading_since;
}

// What flaps is a network or a host, not a process that was seen to end.
bool RestsOnSilence(const std::string& reason) {
  return reason == "PrimaryUnreachable" || reason == "PrimaryUnresponsive";
}

}  // namespace

std::int64_t CoolDownLeftMs(const model::Observed& seen, const model::PlanOptions& options) {
  const auto& last = seen.group.record.last_failover;
  if (!options.cool_down || !last || last->automatic_wall_ms == 0) return 0;
  return std::max<std::int64_t>(
      CoolDownMs(seen.group.spec, last->streak) - SinceAutomaticMs(seen, *last), 0);
}

void CountInCoolDown(const model::Observed& seen, model::LastFailover& last) {
  const auto& before = seen.group.record.last_failover;
  if (last.planned) {
    last.streak = before ? before->streak : 0;
    last.automatic_wall_ms = before ? before->automatic_wall_ms : 0;
    return;
  }
  const bool close = before && before->automatic_wall_ms > 0 &&
                     SinceAutomaticMs(seen, *before) <
                         2 * CoolDownMs(seen.group.spec, before->streak);
  last.streak = close ? before->streak + (RestsOnSilence(last.reason) ? 1 : 0) : 1;
  last.automatic_wall_ms = seen.wall_now;
}

}  // namespace regroup::plan
