#include "operator/plan/followers.h"

#include <algorithm>

#include "operator/plan/candidate.h"
#include "operator/plan/endpoints.h"
#include "operator/plan/fault_kind.h"

namespace regroup::plan {

using model::EngineChange;
using model::EngineEffect;
using model::Member;
using model::MemberRef;

namespace {

constexpr std::int64_t kInSyncLagSeconds = 1;
constexpr std::int64_t kLateForMs = 250;
constexpr std::int64_t kSyncPollMs = 100;
constexpr std::int64_t kCutAtMs[] = {100, 500, 2000, 5000};

bool Follows(const Member& member, const Member& primary, int port) {
  const model::EngineFacts& facts = *member.engine.facts;
  const model::PodView* pod = LastPod(primary);
  return !facts.is_primary && pod != nullptr && facts.primary_host == pod->ip &&
         facts.primary_port == port;
}

// A partial resync costs nothing, so only full syncs wait for each other.
bool NeedsFullSync(const Member& member, const model::EngineFacts& primary) {
  const model::EngineFacts& facts = *member.engine.facts;
  if (facts.repl_id == primary.repl_id) return false;
  return !(facts.repl_id == primary.repl_id2 && facts.offset <= primary.second_repl_offset);
}

}  // namespace

const model::ReplicaLine* LineOf(const model::EngineFacts& primary, const Member& member) {
  if (!member.pod) return nullptr;
  for (const model::ReplicaLine& line : primary.replicas) {
    if (line.address == member.pod->ip) return &line;
  }
  return nullptr;
}

namespace {

bool SyncUnderWay(const model::Observed& seen, const Member& primary, int port) {
  for (const Member& member : seen.members) {
    if (member.uid == primary.uid || !Answers(member) || !Follows(member, primary, port)) continue;
    const model::ReplicaLine* line = LineOf(*primary.engine.facts, member);
    if (member.engine.facts->sync_in_progress || (line != nullptr && !line->online)) return true;
  }
  return false;
}

// Just told to follow, not yet seen to: the next INFO shows it.
bool Ready(const Member& member) {
  return Answers(member) && !Deleting(member) && !member.engine.facts->loading;
}

// An address is used again soon only by a pod that was made about then.
constexpr std::int64_t kHeirMs = 10'000;

// Since when its clients are to be cut off: those of a demoted member, and those of one that has
// the address which the endpoint named until then. What an earlier leader's endpoint named is not
// known, so whoever is born as a leadership begins may have such an address. 0: none to shed.
MonoMs ShedsSince(const model::Observed& seen, const Member& member) {
  const auto demoted = seen.memory.demoted_at.find(member.uid);
  if (demoted != seen.memory.demoted_at.end()) return demoted->second;
  if (!member.pod) return 0;
  const auto left = seen.memory.endpoint_left.find(member.pod->ip);
  if (left == seen.memory.endpoint_left.end()) {
    const MonoMs leading = seen.memory.leading_since;
    const WallMs leading_wall_ms = seen.wall_now - (seen.now - leading);
    const bool newborn = std::abs(member.pod->started_wall_ms - leading_wall_ms) < kHeirMs;
    return newborn && seen.group.record.epoch > 1 ? leading : 0;
  }
  return left->second + kHeirMs < member.pod->first_seen ? 0 : left->second;
}

EngineEffect CutStep(const Member& member, const std::string& reason) {
  EngineEffect cut = ChangeOf(member, EngineChange::kCutClients, reason);
  cut.step = true;
  return cut;
}

// Since it was granted, by this leadership.
bool FencedByUs(const model::Observed& seen, const Member& member) {
  return seen.memory.demoted_at.count(member.uid) > 0;
}

}  // namespace

bool StillShedding(const Context& context, const Member& member) {
  if (!context.options.old_clients || ShedsSince(context.seen, member) == 0) return false;
  const auto steps = context.seen.memory.clients_cut.find(member.uid);
  return steps == context.seen.memory.clients_cut.end() ||
         steps->second < static_cast<int>(std::size(kCutAtMs));
}

void PlanStrangers(Context& context) {
  const std::string granted = context.record().primary ? context.record().primary->uid : "";
  const Member* primary = context.seen.FindMember(granted);
  const auto& transition = context.record().transition;
  const bool handing_over = transition && transition->stage != model::Stage::kPromoting;
  // Whoever takes no writes can wait until the endpoint has moved: a fence costs a live read, a new
  // suspect a write of the record, and a hundred failovers at once would all pay it first.
  const bool promoting = transition && !handing_over;
  for (const Member& member : context.seen.members) {
    if (!Answers(member) || member.uid == granted) continue;
    // Its fence belongs to the hand-over, in one round with the promotion.
    if (handing_over && member.uid == transition->from_uid) continue;
    const bool suspect = Contains(context.record().suspects, member.uid);
    if (member.engine.facts->is_primary) {
      context.Do(ChangeOf(member, EngineChange::kFence, "takes writes without being the primary"));
      context.Watch(model::Attention::kSuspect);
      context.LookAgain(50);
    } else if (promoting) {
      continue;
    } else if (suspect && !FencedByUs(context.seen, member) && primary != nullptr &&
               member.engine.facts->link_up && Follows(member, *primary, context.spec().port)) {
      // An earlier leader fenced it and let it follow; a fence would take it from a primary that it
      // hears, who may just not be heard by us. Only its clients are left.
      context.Do(CutStep(member, "was granted once: its clients"));
    } else if (suspect && !FencedByUs(context.seen, member)) {
      context.Do(ChangeOf(member, EngineChange::kFence, "was granted once: fenced first"));
    } else if (suspect && !StillShedding(context, member)) {
      // Not before: a leader that takes over has to know whose clients are to be cut off.
      std::erase(context.next.suspects, member.uid);
    } else if (!suspect && !FencedByUs(context.seen, member) && StillShedding(context, member)) {
      context.next.suspects.push_back(member.uid);  // by its address: another leader has to know
    }
  }
}

void PlanFollowers(Context& context, const Member& primary) {
  const model::EngineFacts& head = *primary.engine.facts;
  RecordHistory(context, head);
  if (!primary.pod || primary.pod->ip.empty()) return;  // its object is gone: no address to follow
  const int port = context.spec().port;
  bool full_sync = SyncUnderWay(context.seen, primary, port);
  if (full_sync) context.LookAgain(kSyncPollMs);
  for (const Member& member : context.seen.members) {
    if (member.uid == primary.uid || !Ready(member)) continue;
    if (member.engine.facts->is_primary) continue;  // a stranger: fenced first
    const bool suspect = Contains(context.next.suspects, member.uid);
    if (suspect && !FencedByUs(context.seen, member)) continue;
    if (member.uid == context.leaving_uid) continue;
    if (Follows(member, primary, port)) {
      if (!member.engine.facts->link_up) context.LookAgain(kSyncPollMs);
      continue;
    }
    const bool full = NeedsFullSync(member, head);
    if (full && full_sync) continue;
    full_sync = full_sync || full;
    const bool joins = !Contains(context.next.members, member.uid);
    if (joins) context.next.members.push_back(member.uid);
    // It serves nothing yet: whoever is there came by an address that was another's.
    const model::EngineFacts& facts = *member.engine.facts;
    const bool fresh = facts.fenced() && facts.keys == 0 && !context.Confirmed(member);
    if (context.options.old_clients && (joins || fresh)) {
      context.Do(ChangeOf(member, EngineChange::kCutClients, "clients of a used address"));
    }
    EngineEffect follow = ChangeOf(member, EngineChange::kFollow, "follow " + primary.name);
    follow.address = primary.pod->ip;
    follow.port = port;
    context.Do(follow);
    context.Confirm(member);
    context.Watch(model::Attention::kUrgent);
    context.LookAgain(kSyncPollMs);
  }
}

namespace {

// The engine counts a replica's lag in whole seconds of its clock, and an acknowledgement comes
// once a second: now and then a healthy one shows 2 for some hundredths. So who is in sync leaves
// the list when that is still so a quarter of a second later; a stalled one long before the guard,
// which refuses writes at more than 2, would count it out.
bool JustLate(const Context& context, const Member& primary, const Member& member,
              const model::ReplicaLine& line) {
  if (line.lag_seconds > kInSyncLagSeconds + 1) return false;
  if (context.spec().failover.write_guard_lag_seconds <= kInSyncLagSeconds) return false;
  const auto late = primary.engine.late_since.find(line.address);
  return late != primary.engine.late_since.end() && InSyncRecorded(context.record(), member) &&
         primary.engine.facts_at - late->second < kLateForMs;
}

bool Acknowledges(const Context& context, const Member& primary, const Member& member) {
  const model::ReplicaLine* line = LineOf(*primary.engine.facts, member);
  if (line == nullptr || !line->online) return false;
  return line->lag_seconds <= kInSyncLagSeconds || JustLate(context, primary, member, *line);
}

// Somebody's lag is to be looked at once more.
void WatchLate(Context& context, const Member& primary) {
  for (const Member& member : context.seen.members) {
    const model::ReplicaLine* line = LineOf(*primary.engine.facts, member);
    if (line == nullptr || !JustLate(context, primary, member, *line)) continue;
    context.Watch(model::Attention::kSuspect);
    context.LookAgain(kSyncPollMs);
  }
}

// Rule write-guard. While the record says off, an INFO that says on may be older than the command
// that switched it off, by this operator or by one that led before: so the record follows only the
// own command, which cut off everybody else's. A record that says on was left before the engine is.
bool Guarded(const Context& context, const Member& primary) {
  const bool shown = primary.engine.facts->guard_on;
  if (context.record().write_guard) return shown;
  const model::Memory::Ack* ack = OwnChange(context.seen.memory.guarded, primary);
  return ack != nullptr && (shown || primary.engine.facts_at <= ack->at);
}

}  // namespace

std::vector<MemberRef> InSyncNow(const Context& context, const Member& primary) {
  const model::Observed& seen = context.seen;
  std::vector<MemberRef> list;
  const int port = seen.group.spec.port;
  for (const Member& member : seen.members) {
    if (member.uid == primary.uid || member.uid == context.leaving_uid) continue;
    // A new leader's connections open one after the other; the primary hears it.
    const MemberRef* recorded = RefIn(seen.group.record.in_sync, member.uid);
    if (recorded != nullptr && Unheard(member) && Acknowledges(context, primary, member)) {
      list.push_back(*recorded);
      continue;
    }
    if (!Ready(member) || member.engine.facts->is_primary) continue;
    if (!Contains(seen.group.record.members, member.uid)) continue;
    const bool confirmed = Acknowledges(context, primary, member);
    if (context.options.following && !confirmed) continue;  // its own word is not enough
    if (!Follows(member, primary, port) || !member.engine.facts->link_up) continue;
    list.push_back({member.uid, RunOf(member)});
  }
  std::sort(list.begin(), list.end(),
            [](const MemberRef& a, const MemberRef& b) { return a.uid < b.uid; });
  return list;
}

void PlanInSync(Context& context, const Member& primary) {
  const model::EngineFacts& head = *primary.engine.facts;
  const std::vector<MemberRef> now = InSyncNow(context, primary);
  WatchLate(context, primary);
  const bool wanted =
      !now.empty() && context.spec().failover.write_guard == model::WriteGuardPolicy::kAuto;
  if (wanted && context.options.write_guard && !Guarded(context, primary)) {
    context.Do(ChangeOf(primary, EngineChange::kGuardOn, "a replica is in sync"));
    context.Watch(model::Attention::kUrgent);
    context.LookAgain(20);
    return;  // the record follows the engine
  }
  context.next.in_sync = now;
  context.next.write_guard = wanted;
  // The record holds the longest lag that the engine may be using: raised before the engine's,
  // lowered after it (rule proof c counts with it).
  const int lag = context.spec().failover.write_guard_lag_seconds;
  const auto applied = context.seen.memory.applied_parameters.find(RunOf(primary));
  const bool confirmed = applied != context.seen.memory.applied_parameters.end() &&
                         applied->second->count("min-replicas-max-lag") > 0 &&
                         applied->second->at("min-replicas-max-lag") == std::to_string(lag);
  context.next.guard_lag_seconds =
      confirmed ? lag : std::max(context.record().guard_lag_seconds, lag);
  if (!wanted && (head.guard_on || context.record().write_guard)) {
    context.Do(ChangeOf(primary, EngineChange::kGuardOff,
                      now.empty() ? "no replica is in sync" : "the guard is off by policy"));
    context.LookAgain(50);
  }
}

void PlanOldClients(Context& context) {
  if (!context.options.old_clients) return;
  for (const Member& member : context.seen.members) {
    const MonoMs since = ShedsSince(context.seen, member);
    if (since == 0 || !Answers(member) || member.engine.facts->is_primary) continue;
    const auto found = context.seen.memory.clients_cut.find(member.uid);
    const int done = found == context.seen.memory.clients_cut.end() ? 0 : found->second;
    if (done >= static_cast<int>(std::size(kCutAtMs))) continue;
    // Kube-proxies learn of the change from the endpoint, which may be written after the fence.
    const MonoMs moved = std::max(since, context.seen.memory.endpoint_at);
    const std::int64_t due_in_ms = moved + kCutAtMs[done] - context.seen.now;
    if (due_in_ms > 0) {
      context.LookAgain(due_in_ms);
      continue;
    }
    context.Do(CutStep(member, "clients of the demoted primary"));
    context.LookAgain(100);
  }
}

// A guarded primary that is cut off drops its replicas' links by itself, before the guard's time is
// over: else their last acknowledgements, which their hosts go on retransmitting after they were
// detached, would let it take writes for some milliseconds when the network heals. Not while a
// member is filled: a slow disk there must not end its full sync.
const char* LinkTimeout(const Context& context, const Member& primary) {
  const bool filling = SyncUnderWay(context.seen, primary, context.spec().port);
  return context.record().write_guard && !filling ? "2" : "10";
}

void PlanSettings(Context& context) {
  for (const Member& member : context.seen.members) {
    if (!Ready(member)) continue;
    const std::string& run = RunOf(member);
    std::map<std::string, std::string> wanted = context.seen.live_parameters;
    // A fenced member serves nothing; one that is in sync goes on serving while its link is broken.
    if (InSyncRecorded(context.record(), member)) wanted["replica-serve-stale-data"] = "yes";
    if (member.uid == context.record().primary->uid && member.engine.facts->is_primary) {
      wanted["repl-timeout"] = LinkTimeout(context, member);
    }
    const auto applied = context.seen.memory.applied_parameters.find(run);
    if (applied != context.seen.memory.applied_parameters.end()) {
      for (const auto& [name, value] : *applied->second) {
        const auto found = wanted.find(name);
        if (found != wanted.end() && found->second == value) wanted.erase(found);
      }
    }
    if (!wanted.empty()) {
      EngineEffect set = ChangeOf(member, EngineChange::kSetConfig, "parameters of the spec");
      set.config = std::move(wanted);
      context.Do(set);
    }
    const auto acl = context.seen.memory.applied_acl.find(run);
    if (!context.seen.acl_hash.empty() && (acl == context.seen.memory.applied_acl.end() ||
                                           acl->second != context.seen.acl_hash)) {
      context.Do(ChangeOf(member, EngineChange::kSetAcl, "the default user's rule"));
    }
  }
}

namespace {

// Disruption budgets count members by this label, so a replica has it once it holds the data, and
// keeps it over a break of its link. A member that never had it waits for it without one.
std::string RoleOf(const Context& context, const Member& member) {
  if (member.uid == context.record().primary->uid) return "primary";
  for (const MemberRef& ref : context.next.in_sync) {
    if (ref.uid == member.uid) return "replica";
  }
  const model::EngineFacts& facts = *member.engine.facts;
  const std::string& was = member.pod->role_label;
  if (was.empty() || was == "syncing") return was;
  const bool empty = facts.sync_in_progress || facts.loading || (facts.fenced() && facts.keys == 0);
  return empty ? "syncing" : "replica";
}

}  // namespace

void PlanRoleLabels(Context& context) {
  for (const Member& member : context.seen.members) {
    if (!Answers(member) || Deleting(member)) continue;
    const std::string role = RoleOf(context, member);
    if (member.pod->role_label != role) {
      context.Do(model::LabelRole{member.name, member.uid, role});
    }
  }
}

void PlanFarewells(Context& context) {
  const std::string granted = context.record().primary ? context.record().primary->uid : "";
  auto gone = [&](const std::string& uid) {
    if (uid == granted) return false;
    const Member* member = context.seen.FindMember(uid);
    if (member == nullptr) return false;
    if (member->pod && !member->pod->deleting && !member->pod->failed) return false;
    if (Answers(*member)) return false;
    return NobodyRuns(context.seen, *member);
  };
  std::erase_if(context.next.members, gone);
  std::erase_if(context.next.suspects, gone);
}

}  // namespace regroup::plan
