#include "operator/plan/fault_kind.h"

#include <algorithm>

#include "operator/plan/context.h"

namespace regroup::plan {

using model::Member;
using model::Observed;
using model::Reach;

namespace {

// The primary pings once a second, give or take its cron's tenth: after that it was not heard.
constexpr std::int64_t kStillMs = 1250;
constexpr std::int64_t kLinkSilenceSeconds = 2;
constexpr std::int64_t kSuspectPaceMs = 50;
constexpr std::int64_t kOrderAheadMs = 250;

bool NodeIsOut(const Observed& seen, const Member& member) {
  const model::PodView* pod = LastPod(member);
  if (pod == nullptr || pod->node.empty()) return false;
  if (const model::NodeView* node = NodeOf(seen, pod)) return node->out_of_service;
  // The Node object is gone. An empty list means that our cache is, not the cluster.
  return !seen.nodes.empty();
}

// A status may be older than a restart. So a container that was not recorded for its process counts
// only with a refusal, or when it is the last word on a pod that is gone.
bool KubeletReportedEnd(const Observed& seen, const Member& member,
                        const std::string& container_id) {
  const model::PodView* pod = LastPod(member);
  if (pod == nullptr || container_id.empty()) return false;
  const auto& granted = seen.group.record.primary;
  const bool recorded =
      granted && granted->uid == member.uid && granted->container_id == container_id;
  if (!recorded && member.pod && member.engine.reach != Reach::kRefused) return false;
  return pod->terminated_container_id == container_id &&
         pod->terminated_reason != "ContainerStatusUnknown";
}

// A kubelet that is in touch with the API ends a pod which the API no longer has. A node shows
// Ready for up to 40 s after its kubelet's last word, hence the time.
constexpr std::int64_t kKubeletEndsMs = 45'000;

bool KubeletForgot(const Observed& seen, const Member& member) {
  const auto vanished = seen.memory.vanished_since.find(member.uid);
  if (member.pod || vanished == seen.memory.vanished_since.end()) return false;
  const model::PodView* pod = LastPod(member);
  const std::string where = pod == nullptr ? "" : pod->node;
  for (const model::NodeView& node : seen.nodes) {
    if (!where.empty() && node.name != where) continue;
    const auto since = seen.memory.ready_since.find(node.name);
    if (since == seen.memory.ready_since.end()) return false;
    if (seen.now - std::max(since->second, vanished->second) < kKubeletEndsMs) return false;
  }
  return !seen.nodes.empty();
}

bool HearsPrimary(const Observed& seen, const Member& primary, const Member& replica) {
  const model::EngineFacts& facts = *replica.engine.facts;
  if (replica.engine.facts_at <= primary.engine.last_heard) return true;  // too old
  if (!facts.link_up) return false;
  if (facts.last_io_seconds > kLinkSilenceSeconds) return false;
  return replica.engine.offset_still_since == 0 ||
         seen.now - replica.engine.offset_still_since < kStillMs;
}

Fault QuietFault(const Observed& seen, const model::PlanOptions& options, const Member& primary) {
  const model::FailoverSpec& limits = seen.group.spec.failover;
  const model::EngineView& engine = primary.engine;
  if (engine.last_heard == 0) return {FaultKind::kUnseen, "it has not answered yet", 200};
  const std::int64_t quiet_ms = seen.now - engine.last_heard;
  const bool hung = engine.reach == Reach::kSilent || engine.busy;
  const std::int64_t limit = hung ? HungAfterMs(limits) : limits.unreachable_after_ms;
  // No figure that changes with each pass: these words reach the conditions.
  Fault fault{FaultKind::kSuspected, "it is quiet", kSuspectPaceMs};
  if (engine.busy || engine.reach == Reach::kAnswering || quiet_ms < limit) return fault;
  if (options.not_on_one_view && !ReplicasAgree(seen, primary)) {
    fault.words += ", but no replica confirms it";
    return fault;
  }
  fault.kind = hung ? FaultKind::kHung : FaultKind::kGone;
  fault.words = hung ? "its process does not answer" : "its host does not answer";
  fault.words += ", for more than " + std::to_string(limit) + " ms";
  return fault;
}

}  // namespace

std::int64_t HungAfterMs(const model::FailoverSpec& limits) {
  const std::int64_t limit = limits.unresponsive_after_ms;
  return limit - std::min(kOrderAheadMs, limit / 20);
}

bool AllLinksDown(const Observed& seen, const std::string& primary_uid, MonoMs after) {
  for (const Member& member : seen.members) {
    if (member.uid == primary_uid || !Answers(member)) continue;
    const model::EngineFacts& facts = *member.engine.facts;
    if (facts.is_primary || facts.fenced()) continue;
    if (facts.link_up || member.engine.facts_at < after) return false;
  }
  return true;
}

bool ReplicasAgree(const Observed& seen, const Member& primary) {
  bool anyone = false;
  for (const Member& member : seen.members) {
    if (member.uid == primary.uid || !Answers(member)) continue;
    if (seen.now - member.engine.last_heard > kMissedAnswerMs) {
      // We stood still ourselves, and it is asked at this moment: its last word stands until then.
      if (LinkedTo(primary, member)) return false;
      continue;
    }
    anyone = true;
    if (member.engine.facts->fenced()) continue;
    // One that is not recorded as in sync has a say only while its link to this very primary is up.
    if (!InSyncRecorded(seen.group.record, member) && !LinkedTo(primary, member)) continue;
    if (HearsPrimary(seen, primary, member)) return false;
  }
  return anyone;
}

namespace {

// The kubelet or the node tells; of a member that does not answer.
bool EndIsReported(const Observed& seen, const Member& member, const std::string& container_id) {
  if (KubeletReportedEnd(seen, member, container_id)) return true;
  return member.engine.reach != Reach::kAnswering &&
         (NodeIsOut(seen, member) || KubeletForgot(seen, member));
}

// Its idle connection ended in order, and then nobody listened.
bool EndWasHeard(const Member& member, const std::string& run_id) {
  return !run_id.empty() && member.engine.fin_run_id == run_id &&
         member.engine.refused_at >= member.engine.fin_at && member.engine.refused_at > 0;
}

}  // namespace

bool ProvenDead(const Observed& seen, const Member& member, const std::string& run_id,
                const std::string& container_id) {
  if (Answers(member)) {
    // Another process answers there: the old one is gone, because the engine is PID 1.
    return RunOf(member) != run_id && member.engine.facts->fenced();
  }
  return EndIsReported(seen, member, container_id) || EndWasHeard(member, run_id);
}

bool NobodyRuns(const Observed& seen, const Member& member) {
  if (Answers(member)) return false;
  if (EndIsReported(seen, member, ContainerOf(member))) return true;
  if (!EndWasHeard(member, RunOf(member))) return false;
  if (member.engine.reach == Reach::kRefused) return true;
  return member.engine.reach == Reach::kUnreachable && (Deleting(member) || member.pod->failed);
}

bool PrimaryEnded(const Observed& seen) {
  const auto& granted = seen.group.record.primary;
  const Member* primary = granted ? seen.FindMember(granted->uid) : nullptr;
  return primary != nullptr &&
         ProvenDead(seen, *primary, granted->run_id, granted->container_id);
}

Fault PrimaryFault(const Observed& seen, const model::PlanOptions& options) {
  const model::PrimaryRef& granted = *seen.group.record.primary;
  const Member* primary = seen.FindMember(granted.uid);
  if (primary == nullptr) return {FaultKind::kVanished, "its pod object is gone", 200};
  if (Answers(*primary)) {
    if (RunOf(*primary) != granted.run_id) {
      return {FaultKind::kRestarted, "another process answers at its pod", -1};
    }
    if (!primary->engine.facts->is_primary) {
      return {FaultKind::kNotPrimary, "it answers as a fenced replica", -1};
    }
    if (seen.now - primary->engine.last_heard <= kMissedAnswerMs) return {FaultKind::kNone, "", -1};
  }
  if (ProvenDead(seen, *primary, granted.run_id, granted.container_id)) {
    if (AllLinksDown(seen, granted.uid, primary->engine.fin_at)) {
      return {FaultKind::kDead, "its process ended", -1};
    }
    return {FaultKind::kSuspected, "its process ended; a replica has not noticed yet", 5};
  }
  Fault fault = QuietFault(seen, options, *primary);
  if (fault.kind == FaultKind::kSuspected && !primary->pod) {
    fault.kind = FaultKind::kVanished;
    fault.words = "its pod object is gone";
  }
  if (fault.kind == FaultKind::kUnseen && !primary->pod) fault.kind = FaultKind::kVanished;
  return fault;
}

}  // namespace regroup::plan
