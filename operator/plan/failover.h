// From a failed primary to the next one: detach, prove, choose, grant, promote (rules order, proof,
// candidate, nothing-promotable), and the two ways in which a first primary comes to be
// (no-record). Thread: pure; each function adds to the context's record, effects and reasons.
#pragma once

#include <string>

#include "operator/plan/context.h"
#include "operator/plan/fault_kind.h"

namespace regroup::plan {

// The recorded primary has failed or goes away; `reason` becomes the Event's reason.
void PlanFailover(Context& context, const Fault& fault, const std::string& reason);

// A granted primary that stopped answering before its transition was closed.
void PlanLostGrant(Context& context);

// A transition whose CAS is made: tell the new primary, move its slice, close the transition.
void PlanTransition(Context& context);

// Every member is in sync again after a failover: the Event that ElastiCache closes it with.
void PlanRecovered(Context& context);

// Tells the granted member that it is the primary.
void Promote(Context& context, const std::string& uid, const std::string& run_id,
             const std::string& reason);

// No record, or an older one than the engines show.
void PlanBootstrap(Context& context);

// The record that grants `member`: one CAS that changes what belongs together (rule order).
void Grant(Context& context, const model::Member& member, std::int64_t offset,
           const std::string& reason);

// The same process answers, fenced, before any CAS: it is granted again.
void Regrant(Context& context, const model::Member& member, const std::string& reason);

// The proof that each suspect is silent. ready_at > now: proof (c) holds from then on.
struct Silence {
  bool proven = false;
  MonoMs ready_at = 0;   // 0: not by waiting
  std::string missing;   // what is not proven, for the condition
};
Silence ProveSilence(const model::Observed& seen, const model::PlanOptions& options,
                     const Fault& fault);

}  // namespace regroup::plan
