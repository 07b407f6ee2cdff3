#include "operator/reconcile/reconciler.h"

#include <algorithm>
#include <set>

#include "operator/base/log.h"
#include "operator/plan/fault_kind.h"
#include "operator/plan/planner.h"
#include "operator/plan/topology.h"
#include "operator/reconcile/act.h"
#include "operator/reconcile/observe.h"
#include "operator/reconcile/passwords.h"
#include "operator/reconcile/record.h"

namespace regroup::reconcile {

namespace {

constexpr std::int64_t kAuthAgeMs = 60'000;
constexpr std::int64_t kAuthRetryMs = 2'000;
constexpr std::int64_t kErrorLookMs = 250;
constexpr std::int64_t kPartedMs = 60'000;  // kube-proxies know of it by then

redis::Pace PaceOf(model::Attention attention) {
  switch (attention) {
    case model::Attention::kRest: return redis::Pace::kRest;
    case model::Attention::kSuspect: return redis::Pace::kSuspect;
    case model::Attention::kUrgent: return redis::Pace::kUrgent;
  }
  return redis::Pace::kRest;
}

}  // namespace

Reconciler::Reconciler(Ports ports, Options options)
    : ports_(std::move(ports)), options_(std::move(options)) {}

GroupState& Reconciler::StateOf(const std::string& key) {
  std::lock_guard lock(mutex_);
  std::unique_ptr<GroupState>& state = states_[key];
  if (state == nullptr) {
    state = std::make_unique<GroupState>();
    state->memory.leading_since = leading_since_;
    const auto parted = parted_.find(key);
    if (parted != parted_.end()) {
      state->memory.endpoint_left[parted->second.address] = parted->second.at;
    }
  }
  return *state;
}

void Reconciler::Forget(const std::string& key) {
  ports_.fleet->SetTargets(key, {}, {});
  if (ports_.metrics != nullptr) ports_.metrics->RemoveGroup(key);
  const MonoMs now = ports_.clock->Now();
  std::lock_guard lock(mutex_);
  std::erase_if(parted_, [&](const auto& one) { return one.second.at + kPartedMs < now; });
  const auto known = states_.find(key);
  if (known == states_.end()) return;
  const auto& last = known->second->granted_then;
  if (last && !last->address.empty()) parted_[key] = {last->address, now};
  states_.erase(known);
}

void Reconciler::SetTargets(const model::Group& group, const GroupState& state) {
  const redis::Credentials credentials = CredentialsOf(state.secrets);
  // Without passwords nobody would let us in, and each refusal would count as a sign of life.
  if (credentials.watch_password.empty()) return;
  ports_.fleet->SetTargets(model::KeyOf(group.meta), credentials,
                           TargetsOf(*ports_.caches, group, ports_.clock->Now()));
}

// A human who wipes the status takes the record with it, but not what this operator has seen: who
// was granted last may take writes, though neither record nor slice names it.
std::shared_ptr<const model::Group> Reconciler::RecallGrant(
    std::shared_ptr<const model::Group> group, GroupState& state, MonoMs now) {
  const bool same = state.granted_of == group->meta.uid;
  // A group of that name was made anew: kube-proxies that lag lead to the old one's address.
  if (!same && state.granted_then && !state.granted_then->address.empty()) {
    state.memory.endpoint_left[state.granted_then->address] = now;
  }
  if (!same || group->record.epoch >= state.granted_epoch) {
    state.granted_of = group->meta.uid;
    state.granted_epoch = group->record.epoch;
    state.granted_then = group->record.primary;
    return group;
  }
  auto recalled = std::make_shared<model::Group>(*group);
  recalled->forgotten_primary = state.granted_then;
  recalled->forgotten_epoch = state.granted_epoch;
  return recalled;
}

void Reconciler::Watch(const std::string& key) {
  const std::shared_ptr<const model::Group> stored = ports_.caches->Group(key);
  if (stored == nullptr) {
    Forget(key);
    return;
  }
  GroupState& state = StateOf(key);
  const auto group = RecallGrant(stored, state, ports_.clock->Now());
  LearnPasswords(*ports_.caches, *group, state);
  SetTargets(*group, state);
  ports_.fleet->SetPace(key, redis::Pace::kRest);
}

void Reconciler::ReadAuth(const model::Group& group, GroupState& state) {
  const auto& reference = group.spec.auth_secret_ref;
  if (!reference) {
    state.secrets.default_password.clear();
    state.auth_error.clear();
    state.auth_reference.clear();
    return;
  }
  const std::string name = group.meta.namespace_name + "/" + reference->name + "/" + reference->key;
  const std::int64_t age_ms = state.auth_error.empty() ? kAuthAgeMs : kAuthRetryMs;
  const MonoMs now = ports_.clock->Now();
  if (state.auth_reference == name && now - state.auth_read_at < age_ms) return;
  state.auth_reference = name;
  state.auth_read_at = now;
  Result<Json> secret = ports_.api->Get(
      {{"", "v1", "secrets", true}, group.meta.namespace_name, reference->name}, kApiTimeoutMs);
  if (!secret) {
    // An API server that is away changes nothing; a Secret that is missing must be told.
    if (secret.error().code == ErrorCode::kNotFound || state.secrets.default_password.empty()) {
      state.auth_error = "spec.authSecretRef: the Secret '" + reference->name +
                         "' cannot be read (" + secret.error().message + "); create it.";
    }
    return;
  }
  const std::string password = render::SecretValue(*secret, reference->key);
  state.auth_error = password.empty() ? "spec.authSecretRef: the Secret '" + reference->name +
                                            "' has no key '" + reference->key + "'; add it."
                                      : "";
  if (!password.empty()) state.secrets.default_password = password;
}

// Since when: a zone has had no node that takes members, a node has been Ready, a member's pod
// object has been gone.
void Reconciler::TendMemory(const model::Group& group, GroupState& state) {
  std::set<std::string> zones;
  std::set<std::string> open;
  std::set<std::string> ready;
  const MonoMs now = ports_.clock->Now();
  for (const auto& node : ports_.caches->Nodes()) {
    const model::NodeView view = render::ViewOf(*node, group.spec);
    if (view.ready) ready.insert(view.name);
    if (view.zone.empty()) continue;
    zones.insert(view.zone);
    if (view.ready && view.schedulable) open.insert(view.zone);
  }
  auto& lost = state.memory.node_lost_since;
  std::erase_if(lost, [&](const auto& entry) { return open.count(entry.first) > 0; });
  for (const std::string& zone : zones) {
    if (open.count(zone) == 0) lost.emplace(zone, now);
  }
  const std::set<std::string> vanished = VanishedUids(*ports_.caches, group, now);
  auto& vanished_since = state.memory.vanished_since;
  std::erase_if(vanished_since,
                [&](const auto& entry) { return vanished.count(entry.first) == 0; });
  for (const std::string& uid : vanished) vanished_since.emplace(uid, now);
  std::lock_guard lock(mutex_);
  std::erase_if(ready_since_, [&](const auto& entry) { return ready.count(entry.first) == 0; });
  for (const std::string& node : ready) ready_since_.emplace(node, now);
  // Only the end of a vanished member is told by its node (plan/fault_kind.cc): a thousand groups
  // need not hold a thousand lists of nodes.
  state.memory.ready_since.clear();
  if (!vanished.empty()) state.memory.ready_since = ready_since_;
}

namespace {

// Since when the recorded primary's process is known to have ended.
void NoteEnd(model::Observed& seen, model::Memory& memory) {
  const std::string run =
      plan::PrimaryEnded(seen) ? seen.group.record.primary->run_id : std::string();
  if (run != memory.ended_run) memory.ended_at = seen.now;
  memory.ended_run = run;
  seen.memory.ended_run = memory.ended_run;
  seen.memory.ended_at = memory.ended_at;
}

// Names whose pod waited for a node in vain, until a pod of that name gets one.
void NoteUnplaced(model::Observed& seen, model::Memory& memory) {
  for (const model::Member& member : seen.members) {
    if (!member.pod) continue;
    if (member.pod->scheduled) memory.no_node_took.erase(member.name);
    if (plan::NoNodeTook(seen, member)) memory.no_node_took.insert(member.name);
  }
  seen.memory.no_node_took = memory.no_node_took;
}

}  // namespace

std::unique_ptr<Round> Reconciler::Begin(const std::string& key) {
  if (!ports_.caches->Reliable()) return nullptr;  // the last list that was waited for wakes us
  const std::shared_ptr<const model::Group> stored = ports_.caches->Group(key);
  if (stored == nullptr) {
    Forget(key);
    return nullptr;
  }
  GroupState& state = StateOf(key);
  const auto group = RecallGrant(stored, state, ports_.clock->Now());
  LearnPasswords(*ports_.caches, *group, state);
  SetTargets(*group, state);
  ReadAuth(*group, state);
  TendMemory(*group, state);
  Surroundings around;
  around.catalogue = &options_.catalogue;
  around.secrets = state.secrets;
  around.auth_error = state.auth_error;
  around.last_error = state.last_error;
  around.now = ports_.clock->Now();
  around.wall_now = ports_.clock->WallNow();
  model::Observed seen =
      Observe(*ports_.caches, *group, ports_.fleet->Facts(key), state.memory, around,
              state.rendered);
  NoteEnd(seen, state.memory);
  NoteUnplaced(seen, state.memory);
  model::Plan plan = plan::MakePlan(seen, options_.plan);
  ports_.fleet->SetPace(key, PaceOf(plan.attention));
  auto round = std::make_unique<Round>(ports_, options_, state, std::move(seen), std::move(plan));
  LogWhy(*round, state);
  return round;
}

void Reconciler::LogWhy(const Round& round, GroupState& state) const {
  std::string why;
  for (const std::string& sentence : round.plan().why) {
    why += (why.empty() ? "" : "; ") + sentence;
  }
  // Figures in a sentence change with each pass; the log wants each decision once.
  std::string stem;
  std::copy_if(why.begin(), why.end(), std::back_inserter(stem),
               [](char c) { return c < '0' || c > '9'; });
  if (stem == state.last_why) return;
  state.last_why = stem;
  if (why.empty()) return;
  const model::Observed& seen = round.seen();
  Log(LogLevel::kInfo, "decided",
      {{"group", model::KeyOf(seen.group.meta)},
       {"epoch", seen.group.record.epoch},
       {"reason", why},
       {"failover", FailoverIdOf(seen, round.plan())}});
}

// Last of all, and only what differs: at rest nothing is written (rule quiet).
bool Reconciler::Publish(const Round& round) {
  const std::string key = model::KeyOf(round.seen().group.meta);
  const std::shared_ptr<const model::Group> stored = ports_.caches->Group(key);
  if (stored == nullptr || stored->meta.uid != round.seen().group.meta.uid) return true;
  const model::NodeGroupRecord& expected =
      round.plan().record ? *round.plan().record : round.seen().group.record;
  if (!(stored->record == expected)) return true;
  if (options_.plan.quiet && stored->view == round.plan().view) return true;
  if (ports_.OthersFirst()) return false;
  Result<model::Group> written =
      WriteStatus(ports_, *stored, round.plan().view, stored->record);
  if (ports_.failpoint) ports_.failpoint("after-status");
  if (written || written.error().code == ErrorCode::kConflict) return true;
  if (written.error().code == ErrorCode::kNotFound) return true;
  Log(LogLevel::kWarn, "status not published",
      {{"group", key}, {"error", written.error().message}});
  return false;
}

void Reconciler::Measure(const Round& round) const {
  if (ports_.metrics == nullptr) return;
  const model::Observed& seen = round.seen();
  GroupFigures figures;
  figures.epoch = seen.group.record.epoch;
  figures.members_wanted = seen.group.spec.members();
  figures.replicas_in_sync = static_cast<int>(seen.group.record.in_sync.size());
  for (const model::MemberStatus& member : round.plan().view.members) {
    if (member.status == "available") ++figures.members_available;
  }
  for (const model::Condition& condition : round.plan().view.conditions) {
    if (condition.type == "Available") {
      figures.available = condition.status == model::ConditionStatus::kTrue;
    }
  }
  const auto& granted = seen.group.record.primary;
  const model::Member* primary = granted ? seen.FindMember(granted->uid) : nullptr;
  if (primary != nullptr && primary->engine.facts) {
    for (const model::ReplicaLine& line : primary->engine.facts->replicas) {
      figures.lag_bytes_max =
          std::max(figures.lag_bytes_max, primary->engine.facts->offset - line.offset);
    }
  }
  ports_.metrics->SetGroup(model::KeyOf(seen.group.meta), figures);
}

runtime::Outcome Reconciler::End(const std::string& key, std::unique_ptr<Round> round) {
  if (round == nullptr) return {};
  GroupState& state = StateOf(key);
  Measure(*round);
  if (round->yielded()) return {true, 0};
  const bool urgent = round->plan().attention == model::Attention::kUrgent;
  if (round->dropped() && !round->failed()) return {true, 0, urgent};
  state.last_error = round->error();
  // While a transition runs each answer ends a wait, and the view would only stand in the way.
  const bool later = round->any_effect() && (urgent || ports_.OthersFirst());
  const bool published = later || round->dropped() || Publish(*round);
  if (round->failed()) return {false, -1};
  if (!published) return {true, kErrorLookMs};
  if (round->any_effect()) return {true, 0, urgent};  // see what became of it
  return {true, round->plan().requeue_ms};
}

void Reconciler::StartLeading() {
  std::lock_guard lock(mutex_);
  ready_since_.clear();
  leading_since_ = ports_.clock->Now();
  for (auto& [key, state] : states_) {  // another led meanwhile: only the passwords hold
    auto fresh = std::make_unique<GroupState>();
    fresh->memory.leading_since = leading_since_;
    fresh->secrets = std::move(state->secrets);
    fresh->secrets.default_password.clear();
    fresh->secrets_of = std::move(state->secrets_of);
    fresh->former_secrets = std::move(state->former_secrets);
    fresh->granted_of = std::move(state->granted_of);
    fresh->granted_epoch = state->granted_epoch;
    fresh->granted_then = std::move(state->granted_then);
    state = std::move(fresh);
  }
}

void Reconciler::StopLeading() {
  ports_.fleet->DropControl();
}

}  // namespace regroup::reconcile
