#include "operator/plan/kill_not_wait.h"

#include <algorithm>

#include "operator/plan/candidate.h"

namespace regroup::plan {

using model::Member;
using model::Observed;

namespace {

constexpr int kGraceSeconds = 1;              // with less the kubelet would leave no last word
constexpr std::int64_t kAskAgainMs = 5'000;   // a lost or slow delete
constexpr std::int64_t kShutAgainMs = 1'000;
constexpr std::int64_t kVerdictMs = 500;      // a question owed for so long counts as silence

const Member* ReadyCandidate(const Context& context, const Member& primary) {
  if (!context.options.kill_not_wait || !context.fails_over()) return nullptr;
  return ChooseCandidate(context.seen, context.options, primary.uid).member;
}

bool AskedLately(const Observed& seen, const std::string& key, std::int64_t within_ms) {
  const auto asked = seen.memory.shut_at.find(key);
  return asked != seen.memory.shut_at.end() && seen.now - asked->second < within_ms;
}

// It, or we, may have been cut off or stopped before, and it stands still only since then. So what
// counts begins with the last answer, but at most a poll before the first question that it owes an
// answer to; and where its host was lost before, with its return.
MonoMs SilentSince(const model::EngineView& engine) {
  if (engine.reach_was != model::Reach::kAnswering) return engine.reach_since;
  return std::max(engine.last_heard, engine.reach_since - kVerdictMs - kMissedAnswerMs);
}

// Answers, or its process is proven dead.
bool Accounted(const Observed& seen, const Member& member) {
  return Answers(member) || NobodyRuns(seen, member);
}

}  // namespace

void PlanKill(Context& context, const Fault& fault, const Member& primary) {
  if (fault.kind != FaultKind::kHung || !primary.pod) return;
  const Member* candidate = ReadyCandidate(context, primary);
  if (!NodeIsReady(context.seen, primary) || candidate == nullptr) return;
  const std::int64_t limit = HungAfterMs(context.spec().failover);
  if (context.seen.now - SilentSince(primary.engine) < limit) return;
  if (AskedLately(context.seen, primary.uid, kAskAgainMs)) return;
  model::DeleteMember end{primary.name, primary.uid, primary.pod->resource_version, kGraceSeconds,
                          "it hangs, and a replica is ready: " + fault.words};
  end.heir_name = candidate->name;
  end.heir_uid = candidate->uid;
  context.Do(std::move(end));
  context.Say("end the hung primary " + primary.name);
}

bool PlanEndOfBusy(Context& context, const Member& primary) {
  const bool loading = Answers(primary) && primary.engine.facts->loading;
  if (!(primary.engine.busy || loading) || !Deleting(primary)) return false;
  if (ReadyCandidate(context, primary) == nullptr) return false;
  if (AskedLately(context.seen, RunOf(primary), kShutAgainMs)) return false;
  context.Do(ChangeOf(primary, model::EngineChange::kShutdown,
                      "it is being deleted and cannot hand over while it is busy"));
  context.LookAgain(100);
  return true;
}

Unproven MayPromoteUnproven(const Observed& seen, const model::PlanOptions& options) {
  if (!options.kill_not_wait) return {true, 0};
  const int limit_seconds = seen.group.spec.failover.unproven_after_seconds;
  if (limit_seconds == 0) return {};
  const model::NodeGroupRecord& record = seen.group.record;
  const Member* primary = seen.FindMember(record.primary->uid);
  const MonoMs heard = primary == nullptr ? 0 : primary->engine.last_heard;
  const MonoMs since = std::max(heard, seen.memory.leading_since);
  const std::int64_t waits_ms = since + std::int64_t{1000} * limit_seconds - seen.now;
  if (waits_ms > 0) return {false, waits_ms};
  for (const std::string& uid : record.members) {
    const Member* member = seen.FindMember(uid);
    if (member == nullptr || LastPod(*member) == nullptr) return {};
    if (!Accounted(seen, *member) && NodeIsReady(seen, *member)) return {};
  }
  return {true, 0};
}

}  // namespace regroup::plan
