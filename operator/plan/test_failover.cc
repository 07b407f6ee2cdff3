#include "operator/plan/test_failover.h"

#include "operator/plan/candidate.h"
#include "operator/plan/followers.h"

namespace regroup::plan {

using model::Member;
using model::TestFailover;

namespace {

constexpr char kRunning[] = "running";
constexpr char kReason[] = "TestFailover";
constexpr std::int64_t kDayMs = 24 * 3'600'000LL;
constexpr std::int64_t kAskAgainMs = 1'000;
constexpr std::int64_t kGiveUpMs = 30'000;

// Empty, or why the test cannot be made; ElastiCache's error codes begin the sentence.
std::string Refusal(const Context& context, const Member& primary, std::size_t made_today) {
  if (!context.spec().automatic_failover_enabled) {
    return "TestFailoverNotAvailable: spec.automaticFailoverEnabled is not true.";
  }
  if (InSyncNow(context, primary).empty() ||
      ChooseCandidate(context.seen, context.options, primary.uid).member == nullptr) {
    return "TestFailoverNotAvailable: no replica is in sync; wait until FailoverReady is True.";
  }
  const int quota = context.spec().failover.test_failovers_per_day;
  if (made_today >= static_cast<std::size_t>(quota)) {
    return "APICallRateForCustomerExceeded: " + std::to_string(made_today) +
           " tests were made in the last 24 hours; spec.failover.testFailoversPerDay allows " +
           std::to_string(quota) + ".";
  }
  return "";
}

void Start(Context& context, const Member& primary) {
  model::NodeGroupRecord& next = context.next;
  std::erase_if(next.test_failovers,
                [&](WallMs at) { return context.seen.wall_now - at > kDayMs; });
  TestFailover test;
  test.id = context.seen.group.meta.test_failover_id;
  test.started_wall_ms = context.seen.wall_now;
  test.from_name = primary.name;
  test.from_run_id = RunOf(primary);
  const std::string refusal = Refusal(context, primary, next.test_failovers.size());
  test.state = refusal.empty() ? kRunning : "refused";
  test.message = refusal.empty() ? "The primary's process is being ended." : refusal;
  next.test_failover = test;
  if (!refusal.empty()) {
    context.Do(model::EmitEvent{true, "TestFailoverRefused", test.message});
    return;
  }
  next.test_failovers.push_back(context.seen.wall_now);
  context.Do(model::EmitEvent{false, kReason, "Test Failover API called for node group " +
                              next.node_group_id + " (request " + test.id + ")"});
  context.Do(ChangeOf(primary, model::EngineChange::kShutdown, "TestFailover " + test.id));
  context.Watch(model::Attention::kUrgent);
}

// The request is recorded, but the process still answers: a leader died in between, or the engine
// refuses. It is asked again for a while.
bool Continue(Context& context, const Member& primary) {
  TestFailover& test = *context.next.test_failover;
  if (context.seen.wall_now - test.started_wall_ms > kGiveUpMs) {
    test.state = "failed";
    test.message = "The primary's process did not end; see the operator's log.";
    context.Do(model::EmitEvent{true, "TestFailoverFailed", test.message});
    return true;
  }
  const auto asked = context.seen.memory.shut_at.find(RunOf(primary));
  context.LookAgain(kAskAgainMs);
  if (asked != context.seen.memory.shut_at.end() &&
      context.seen.now - asked->second < kAskAgainMs) {
    return false;
  }
  context.Do(ChangeOf(primary, model::EngineChange::kShutdown, "TestFailover " + test.id));
  return true;
}

}  // namespace

bool PlanTestFailover(Context& context, const Member& primary) {
  const auto& test = context.record().test_failover;
  const std::string& wanted = context.seen.group.meta.test_failover_id;
  if (test && test->state == kRunning) {
    if (IsTest(context.record(), RunOf(primary))) return Continue(context, primary);
    context.next.test_failover->state = "failed";
    context.next.test_failover->message = "The primary's process ended, but no replica took over.";
  }
  if (wanted.empty() || (test && test->id == wanted)) return false;
  if (context.record_changed()) return true;  // the last test's end first
  Start(context, primary);
  return true;
}

bool IsTest(const model::NodeGroupRecord& record, const std::string& from_run_id) {
  return record.test_failover && record.test_failover->state == kRunning &&
         record.test_failover->from_run_id == from_run_id;
}

void FinishTest(Context& context, const model::LastFailover& last) {
  auto& test = context.next.test_failover;
  if (!test || test->state != kRunning) return;
  test->state = "completed";
  test->to_name = last.to_name;
  test->reason = last.reason;
  test->duration_ms = (last.detect_ms < 0 ? 0 : last.detect_ms) + last.duration_ms;
  test->lost_bytes_max = last.lost_bytes_max;
  test->message = "Failover from primary node " + last.from_name + " to replica node " +
                  last.to_name + " completed.";
}

}  // namespace regroup::plan
