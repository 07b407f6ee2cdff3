// The effects of a plan, one function each kind, over the ports. Thin: what to do was decided.
// Thread: any worker. Errors: as the ports'; kDeadlineExceeded is an unknown outcome, which the
// next pass reads back by observing.
#pragma once

#include <string>
#include <vector>

#include "operator/reconcile/ports.h"

namespace regroup::reconcile {

// "EngineEffect", "CreateMember", …: for logs and failpoints.
std::string NameOf(const model::Effect& effect);
// One line for the log: what is done to whom, and why.
std::string WordsOf(const model::Effect& effect);
// Whether clients wait for what the plan does: a grant, a step of a change of the primary, an
// endpoint, the end of a refusal of writes. All else gives way to other groups' pressing plans.
bool IsPressing(const model::NodeGroupRecord& record, const model::Plan& plan);
// The id that every log line of one change of the primary carries, from the suspicion that led to
// the first act; empty at rest.
std::string FailoverIdOf(const model::Observed& seen, const model::Plan& plan);

redis::Command CommandOf(const model::Group& group, const model::EngineEffect& effect,
                         const redis::Session& session, const render::GroupSecrets& secrets);
// The replication offset in the INFO that ends a transaction; 0: there is none.
std::int64_t OffsetIn(const redis::CommandReply& reply);
// The first error among the replies of a transaction; empty: it was executed.
std::string FailureOf(const redis::CommandReply& reply);
// What an acknowledged change means for what this process knows (Observed::memory).
void Remember(model::Memory& memory, const model::Observed& seen,
              const model::EngineEffect& effect, const redis::CommandReply& reply);

// Every effect but EngineEffect.
Result<void> Perform(const Ports& ports, const Options& options, const model::Observed& seen,
                     const render::GroupSecrets& secrets, const model::Effect& effect);

}  // namespace regroup::reconcile
