#include "operator/base/log.h"
#include "operator/reconcile/act.h"
#include "operator/reconcile/observe.h"
#include "operator/reconcile/reconciler.h"
#include "operator/reconcile/record.h"

namespace regroup::reconcile {

using model::EngineEffect;

namespace {

const EngineEffect* AsEngine(const model::Effect& effect) {
  return std::get_if<EngineEffect>(&effect);
}

std::string TransitionId(const model::Observed& seen, const model::Plan& plan) {
  const auto& next = plan.record ? plan.record->transition : seen.group.record.transition;
  if (next) return next->id;
  return seen.group.record.transition ? seen.group.record.transition->id : "";
}

}  // namespace

Round::Round(const Ports& ports, const Options& options, GroupState& state, model::Observed seen,
             model::Plan plan)
    : ports_(ports), options_(options), state_(state), seen_(std::move(seen)),
      plan_(std::move(plan)), key_(model::KeyOf(seen_.group.meta)),
      secrets_(SecretsOf(*ports_.caches, seen_.group, state_.default_password)) {
  for (std::size_t i = 0; i < plan_.effects.size(); ++i) {
    (AsEngine(plan_.effects[i]) != nullptr ? engine_ : objects_).push_back(i);
  }
  if (!engine_.empty()) phase_ = Phase::kPrepare;
  else if (plan_.record) phase_ = Phase::kAuthority;
  else if (!objects_.empty()) phase_ = Phase::kObjects;
}

bool Round::Step() {
  switch (phase_) {
    case Phase::kPrepare: Prepare(); break;
    case Phase::kAuthority: Authority(); break;
    case Phase::kEngine: Engine(); break;
    case Phase::kObjects: Object(); break;
    case Phase::kOver: break;
  }
  return phase_ != Phase::kOver;
}

void Round::Note(const std::string& what, const Error& error) {
  Log(LogLevel::kWarn, "could not " + what,
      {{"group", key_},
       {"epoch", seen_.group.record.epoch},
       {"code", ToString(error.code)},
       {"error", error.message}});
  if (error_.empty()) error_ = "could not " + what + ": " + error.message;
}

void Round::Drop(const std::string& why) {
  Log(LogLevel::kInfo, "round dropped", {{"group", key_}, {"reason", why}});
  dropped_ = true;
  phase_ = Phase::kOver;
}

// Connections first: what comes after may rest only on authority that is younger than their AUTH.
void Round::Prepare() {
  std::vector<std::string> uids;
  for (const std::size_t index : engine_) {
    const std::string& uid = AsEngine(plan_.effects[index])->uid;
    if (sessions_.count(uid) > 0) continue;
    sessions_[uid] = {};
    uids.push_back(uid);
  }
  const auto sessions = ports_.fleet->Prepare(key_, uids, kEngineTimeoutMs);
  for (std::size_t i = 0; i < uids.size(); ++i) {
    if (sessions[i]) {
      sessions_[uids[i]] = *sessions[i];
      continue;
    }
    const model::Member* member = seen_.FindMember(uids[i]);
    Note("connect to " + (member == nullptr ? uids[i] : member->name), sessions[i].error());
    sessions_.erase(uids[i]);
  }
  for (const std::size_t index : engine_) {
    const EngineEffect& effect = *AsEngine(plan_.effects[index]);
    // A grant to a member that cannot be told would only cost an epoch.
    if (effect.change == model::EngineChange::kPromote && sessions_.count(effect.uid) == 0) {
      Drop("the member to be promoted cannot be reached");
      return;
    }
  }
  phase_ = Phase::kAuthority;
}

// Rules record-first and authority: the CAS of the decision, or, if the record stays as it is, a
// live read which shows that it still is.
void Round::Authority() {
  if (plan_.record) {
    Result<model::Group> stored =
        WriteStatus(ports_, seen_.group, seen_.group.view, *plan_.record);
    if (!stored) {
      if (stored.error().code != ErrorCode::kConflict) Note("write the record", stored.error());
      Drop("the record was not written: " + stored.error().message);
      return;
    }
    Log(LogLevel::kInfo, "record written",
        {{"group", key_},
         {"epoch", plan_.record->epoch},
         {"primary", plan_.record->primary ? plan_.record->primary->name : ""},
         {"guard", plan_.record->write_guard ? "on" : "off"},
         {"inSync", plan_.record->in_sync.size()},
         {"failover", TransitionId(seen_, plan_)}});
    const auto& last = plan_.record->last_failover;
    if (ports_.metrics != nullptr && last && last != seen_.group.record.last_failover) {
      ports_.metrics->CountFailover(key_, last->reason, last->duration_ms);
    }
    if (ports_.failpoint) ports_.failpoint("after-record");
  } else if (options_.plan.authority) {
    Result<model::Group> live = ReadGroup(ports_, seen_.group.meta);
    if (!live) {
      Note("read the record", live.error());
      Drop("no authority for a change of an engine");
      return;
    }
    if (!(live->record == seen_.group.record)) {
      Drop("the record is not what was planned for");
      return;
    }
  }
  phase_ = !engine_.empty() ? Phase::kEngine : !objects_.empty() ? Phase::kObjects : Phase::kOver;
}

void Round::Engine() {
  if (options_.parallel) {
    RunEngine(engine_);
    next_engine_ = engine_.size();
  } else {
    RunEngine({engine_[next_engine_]});
    ++next_engine_;
  }
  if (next_engine_ < engine_.size()) return;
  phase_ = objects_.empty() ? Phase::kOver : Phase::kObjects;
}

void Round::RunEngine(const std::vector<std::size_t>& indices) {
  std::vector<redis::Command> commands;
  std::vector<std::size_t> sent;
  for (const std::size_t index : indices) {
    const EngineEffect& effect = *AsEngine(plan_.effects[index]);
    const auto session = sessions_.find(effect.uid);
    if (session == sessions_.end()) continue;
    commands.push_back(CommandOf(seen_.group, effect, session->second, secrets_));
    sent.push_back(index);
  }
  if (commands.empty()) return;
  const auto replies = ports_.fleet->Execute(key_, commands, kEngineTimeoutMs);
  for (std::size_t i = 0; i < sent.size(); ++i) {
    const EngineEffect& effect = *AsEngine(plan_.effects[sent[i]]);
    const model::Member* member = seen_.FindMember(effect.uid);
    const std::string name = member == nullptr ? effect.uid : member->name;
    std::string failure = replies[i] ? FailureOf(*replies[i]) : replies[i].error().message;
    if (!failure.empty()) {
      Note(WordsOf(effect) + " on " + name,
           replies[i] ? Error{ErrorCode::kForbidden, failure, 0, 0} : replies[i].error());
      continue;
    }
    Remember(state_.memory, seen_, effect, *replies[i]);
    Log(LogLevel::kInfo, "engine changed",
        {{"group", key_},
         {"member", name},
         {"epoch", plan_.record ? plan_.record->epoch : seen_.group.record.epoch},
         {"change", WordsOf(effect)},
         {"failover", TransitionId(seen_, plan_)}});
    AfterEffect(plan_.effects[sent[i]]);
  }
}

void Round::Object() {
  const model::Effect& effect = plan_.effects[objects_[next_object_]];
  // A suspected primary ends the round under way early: what is left is planned again. Not so an
  // Event: its decision is recorded, so no later plan would tell of it.
  if (ports_.interrupted && ports_.interrupted(key_)) interrupted_ = true;
  if (interrupted_ && !std::holds_alternative<model::EmitEvent>(effect)) {
    if (++next_object_ >= objects_.size()) Drop("something more urgent happened");
    return;
  }
  Result<void> done = Perform(ports_, options_, seen_, secrets_, effect);
  if (done) {
    Log(LogLevel::kInfo, "done",
        {{"group", key_},
         {"epoch", seen_.group.record.epoch},
         {"effect", NameOf(effect)},
         {"what", WordsOf(effect)},
         {"failover", TransitionId(seen_, plan_)}});
    AfterEffect(effect);
  } else if (done.error().code == ErrorCode::kConflict &&
             std::holds_alternative<model::WriteSlice>(effect)) {
    Drop("the endpoint slice was changed by somebody else");
    return;
  } else {
    Note(WordsOf(effect), done.error());
  }
  if (++next_object_ < objects_.size()) return;
  if (interrupted_) Drop("something more urgent happened");
  phase_ = Phase::kOver;
}

void Round::AfterEffect(const model::Effect& effect) {
  if (ports_.failpoint) ports_.failpoint("after-effect-" + NameOf(effect));
}

}  // namespace regroup::reconcile
