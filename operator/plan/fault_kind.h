// Failure told apart by its kind (design 1.2), and the proof that a process is silent (rule proof).
// Thread: pure functions. Units: milliseconds of the operator's clock.
#pragma once

#include <string>

#include "operator/model/observed.h"
#include "operator/model/plan.h"

namespace regroup::plan {

enum class FaultKind {
  kNone,       // answers as the process that was granted, and takes writes
  kUnseen,     // nothing is known yet: no decision may rest on it
  kSuspected,  // quiet for longer than a poll, shorter than any limit
  kNotPrimary, // the granted process answers, but it is no primary (fenced, or never promoted)
  kRestarted,  // another process answers at that pod
  kDead,       // proof (a)
  kGone,       // no TCP acknowledgement from its host for unreachable_after_ms, and replicas agree
  kHung,       // TCP acknowledges, no reply for HungAfterMs, and replicas agree
  kVanished,   // the pod object is gone and its process does not answer
};

struct Fault {
  FaultKind kind = FaultKind::kUnseen;
  std::string words;           // what was seen, for the log and the Event
  std::int64_t look_again_ms = -1;
};

// Silence after which a process counts as hung, in milliseconds. To end one takes the kubelet 3 s,
// and the order, the promotion and kube-proxy take up to a quarter of a second more: the order goes
// out by so much before `unresponsiveAfter`, so that another one takes writes within 3 s of it.
std::int64_t HungAfterMs(const model::FailoverSpec& limits);

// The kind of fault of the recorded primary.
Fault PrimaryFault(const model::Observed& seen, const model::PlanOptions& options);

// Proof (a), (d), or that the pod object has been gone for longer than a kubelet in touch with the
// API lets its process run; for the process `run_id` of `member` (container `container_id`, may be
// empty).
bool ProvenDead(const model::Observed& seen, const model::Member& member,
                const std::string& run_id, const std::string& container_id);

// No process of that member is alive: the one that it was last heard of has ended, and none that
// was started since then, and has not answered yet, can be there.
bool NobodyRuns(const model::Observed& seen, const model::Member& member);

// The recorded primary's process is proven to have ended.
bool PrimaryEnded(const model::Observed& seen);

// Every reachable follower says that its link is down, in a reply younger than `after`.
bool AllLinksDown(const model::Observed& seen, const std::string& primary_uid, MonoMs after);

// Not on one view: at least one other member answers, and none of the in-sync ones hears the
// primary any more.
bool ReplicasAgree(const model::Observed& seen, const model::Member& primary);

}  // namespace regroup::plan
