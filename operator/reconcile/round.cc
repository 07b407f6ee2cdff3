#include <algorithm>

#include "operator/base/log.h"
#include "operator/plan/switchover.h"
#include "operator/reconcile/act.h"
#include "operator/reconcile/observe.h"
#include "operator/reconcile/passwords.h"
#include "operator/reconcile/reconciler.h"
#include "operator/reconcile/record.h"
#include "operator/redis/commands.h"
#include "operator/render/acl.h"
#include "operator/render/objects.h"
#include "operator/render/observe_objects.h"

namespace regroup::reconcile {

using model::EngineEffect;

namespace {

const EngineEffect* AsEngine(const model::Effect& effect) {
  return std::get_if<EngineEffect>(&effect);
}

constexpr std::int64_t kCatchUpMs = 500;  // then the switchover goes back (rule planned)

// Stages that another leader did are unknown and not counted.
void CountFailover(Metrics& metrics, const std::string& group, const model::LastFailover& last) {
  metrics.CountFailover(group, last.reason, last.duration_ms);
  for (const auto& [stage, ms] : {std::pair{"detect", last.detect_ms},
                                  std::pair{"promote", last.promote_ms},
                                  std::pair{"endpoint", last.endpoint_ms}}) {
    if (ms >= 0) metrics.CountFailoverStage(last.reason, stage, ms);
  }
}

constexpr std::int64_t kLeftAddressMs = 60'000;

// Which addresses the primary's endpoint names no more, and since when; whoever has one of them
// begins to shed clients now, whatever was done before.
void LeaveAddresses(model::Memory& memory, const model::Observed& seen,
                    const model::WriteSlice& now) {
  std::erase_if(memory.endpoint_left, [&](const auto& entry) {
    return entry.second + kLeftAddressMs < memory.endpoint_at;
  });
  for (const model::SliceEndpoint& old : seen.primary_slice.endpoints) {
    const bool stays = std::any_of(now.endpoints.begin(), now.endpoints.end(),
                                   [&](const auto& one) { return one.address == old.address; });
    if (!stays) memory.endpoint_left[old.address] = memory.endpoint_at;
  }
  for (const model::SliceEndpoint& fresh : now.endpoints) {
    memory.endpoint_left.erase(fresh.address);
  }
  for (const model::Member& member : seen.members) {
    const bool left = member.pod && memory.endpoint_left.count(member.pod->ip) > 0 &&
                      memory.endpoint_left.at(member.pod->ip) == memory.endpoint_at;
    if (left) memory.clients_cut.erase(member.uid);
  }
}

// A live read showed another picture than the caches; the next plan is made with it.
bool DropsOnConflict(const model::Effect& effect) {
  const auto* gone = std::get_if<model::DeleteMember>(&effect);
  return gone != nullptr && !gone->heir_name.empty();
}

// Only without the rule authority: an older leader's connections, and what waits in them, live on.
void SpareOthers(redis::Command& command) {
  if (!command.alone) command.transaction.erase(command.transaction.begin());
}

// Only without the rule following: members that are no primary feed replicas, too.
void FeedAnyway(redis::Command& command) {
  for (auto& words : command.transaction) {
    if (words.front() == "ACL" && words.back() == "off") words.back() = "on";
  }
}

}  // namespace

Round::Round(const Ports& ports, const Options& options, GroupState& state, model::Observed seen,
             model::Plan plan)
    : ports_(ports), options_(options), state_(state), seen_(std::move(seen)),
      plan_(std::move(plan)), key_(model::KeyOf(seen_.group.meta)),
      secrets_(state_.secrets) {
  for (std::size_t i = 0; i < plan_.effects.size(); ++i) {
    const EngineEffect* engine = AsEngine(plan_.effects[i]);
    if (engine == nullptr) objects_.push_back(i);
    else if (!engine->after_uid.empty()) hand_over_ = i;
    else engine_.push_back(i);
  }
  if (!engine_.empty() || hand_over_) phase_ = Phase::kPrepare;
  else if (plan_.record) phase_ = Phase::kAuthority;
  else if (!objects_.empty()) phase_ = Phase::kObjects;
  // Where many groups fail at once, the end of one failover is several writes of the API server,
  // while other groups' clients still wait for theirs.
  yielded_ = any_effect() && !IsPressing(seen_.group.record, plan_) && ports_.OthersFirst();
  if (yielded_) phase_ = Phase::kOver;
}

bool Round::Step() {
  switch (phase_) {
    case Phase::kPrepare: Prepare(); break;
    case Phase::kConfirm: Confirm(); break;
    case Phase::kAuthority: Authority(); break;
    case Phase::kEngine: Engine(); break;
    case Phase::kHandOver: HandOver(); break;
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
       {"error", error.message},
       {"failover", FailoverIdOf(seen_, plan_)}});
  if (error_.empty()) error_ = "could not " + what + ": " + error.message;
}

void Round::Drop(const std::string& why) {
  Log(LogLevel::kInfo, "round dropped",
      {{"group", key_}, {"reason", why}, {"failover", FailoverIdOf(seen_, plan_)}});
  dropped_ = true;
  phase_ = Phase::kOver;
}

// Connections first: what comes after may rest only on authority that is younger than their AUTH.
void Round::Prepare() {
  std::vector<std::string> uids;
  std::vector<std::size_t> wanted = engine_;
  if (hand_over_) wanted.push_back(*hand_over_);
  for (const std::size_t index : wanted) {
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
  for (const std::size_t index : wanted) {
    const EngineEffect& effect = *AsEngine(plan_.effects[index]);
    // A grant to a member that cannot be told would only cost an epoch, and a fence without the
    // promotion that belongs to it a write gap.
    const bool needed = effect.change == model::EngineChange::kPromote || hand_over_;
    if (needed && sessions_.count(effect.uid) == 0) {
      Drop("a member of the change of the primary cannot be reached");
      return;
    }
  }
  phase_ = AfterPrepare();
}

Round::Phase Round::AfterPrepare() const {
  const std::size_t all = plan_.confirm.size() + (plan_.confirm_all ? 1 : 0);
  if (next_confirm_ < all) return Phase::kConfirm;
  return RecordsLate() ? Phase::kEngine : Phase::kAuthority;
}

// A pod that is another now is kept in the caches, and the next plan is made with it.
void Round::Confirm() {
  if (next_confirm_ >= plan_.confirm.size()) return ConfirmAll();
  const model::LivePod& pod = plan_.confirm[next_confirm_++];
  const std::string& name_space = seen_.group.meta.namespace_name;
  const Result<Json> live =
      ports_.api->Get({TypeOf(Watched::kPod).type, name_space, pod.name}, kApiTimeoutMs);
  if (live) {
    ports_.caches->Keep(Watched::kPod, *live, ports_.clock->Now());
    if (Str(At(*live, {"metadata", "uid"})) != pod.uid) {
      return Drop("the pod of " + pod.name + " is another one by now");
    }
    state_.memory.confirmed[pod.uid] = pod.run_id;
    phase_ = AfterPrepare();
    return;
  }
  if (live.error().code == ErrorCode::kNotFound && pod.gone) {
    phase_ = AfterPrepare();
    return;
  }
  if (live.error().code != ErrorCode::kNotFound) {
    Note("read the pod of " + pod.name, live.error());
    return Drop("whose process answers as " + pod.name + " is not known");
  }
  ports_.caches->KeepGone(Watched::kPod, name_space + "/" + pod.name, pod.uid,
                          ports_.clock->Now());
  Drop("the pod of " + pod.name + " is gone");
}

// A list shows members that a silent watch has never told of, and what became of the others.
void Round::ConfirmAll() {
  ++next_confirm_;
  kube::ListOptions ours;
  ours.namespace_name = seen_.group.meta.namespace_name;
  ours.label_selector = TypeOf(Watched::kPod).label_selector + "," + render::kGroupLabel + "=" +
                        seen_.group.meta.name;
  const Result<Json> list = ports_.api->List(TypeOf(Watched::kPod).type, ours, kApiTimeoutMs);
  if (!list) {
    Note("list the group's pods", list.error());
    return Drop("which members there are is not known");
  }
  bool same = true;
  const Json& pods = Child(*list, "items");
  for (const Json& pod : pods.is_array() ? pods : Json::array()) {
    if (render::ParseOwned(pod).group_uid != seen_.group.meta.uid) continue;  // a namesake's
    ports_.caches->Keep(Watched::kPod, pod, ports_.clock->Now());
    const model::Member* known = seen_.FindMember(Str(At(pod, {"metadata", "uid"})));
    same = same && known != nullptr && known->pod &&
           known->pod->resource_version == Str(At(pod, {"metadata", "resourceVersion"}));
  }
  if (!same) return Drop("the group's pods are not the ones that were planned with");
  phase_ = AfterPrepare();
}

// Only without the rule record-first: the engines before the decision.
bool Round::RecordsLate() const {
  return !options_.plan.record_first && plan_.record && !recorded_ && !engine_.empty();
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
         {"failover", FailoverIdOf(seen_, plan_)}});
    const auto& last = plan_.record->last_failover;
    if (ports_.metrics != nullptr && last && last != seen_.group.record.last_failover) {
      CountFailover(*ports_.metrics, key_, *last);
    }
    const auto& transition = plan_.record->transition;
    if (transition && transition != seen_.group.record.transition) {
      state_.memory.decided_id = transition->id;
      state_.memory.decided_at = seen_.now;  // its own write belongs to the promotion's time
      state_.memory.promoted_at = state_.memory.endpoint_at = 0;
      if (transition->stage == model::Stage::kReturning) {
        state_.memory.switch_given_up_at = ports_.clock->Now();
      }
    }
    recorded_ = true;
    if (ports_.failpoint) ports_.failpoint("after-record");
  } else if (!StillRecorded("no authority for a change of an engine")) {
    return;
  }
  phase_ = next_engine_ >= engine_.size() ? AfterEngine() : Phase::kEngine;
}

Round::Phase Round::AfterEngine() const {
  if (hand_over_) return Phase::kHandOver;
  if (RecordsLate()) return Phase::kAuthority;
  return objects_.empty() ? Phase::kOver : Phase::kObjects;
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
  phase_ = AfterEngine();
}

// Rule planned: the fence's answer held the old primary's final offset; the new one is told once it
// has read so far. Nothing but these two engines is asked between the fence and the promotion.
void Round::HandOver() {
  const EngineEffect& effect = *AsEngine(plan_.effects[*hand_over_]);
  const auto fenced = state_.memory.fenced.find(effect.after_uid);
  const std::size_t index = *hand_over_;
  const auto over = [this] {
    hand_over_.reset();
    phase_ = AfterEngine();
  };
  if (acknowledged_.count(effect.after_uid) == 0 || fenced == state_.memory.fenced.end()) {
    return over();  // the fence failed and was noted; what became of it is looked at again
  }
  if (hand_over_since_ == 0) hand_over_since_ = ports_.clock->Now();
  const redis::Command look{sessions_.at(effect.uid), effect.run_id,
                            redis::Look(render::kOperatorUser), false};
  const auto answer = ports_.fleet->Execute(key_, {look}, kEngineTimeoutMs).front();
  if (!answer || !FailureOf(*answer).empty()) {
    Note("ask the new primary how far it has read",
         answer ? Error{ErrorCode::kForbidden, FailureOf(*answer), 0, 0} : answer.error());
    return over();
  }
  if (OffsetIn(*answer) >= fenced->second.offset) {
    RunEngine({index});
    return over();
  }
  if (ports_.clock->Now() - hand_over_since_ > kCatchUpMs) {
    Note("hand over", Error{ErrorCode::kDeadlineExceeded,
                            "the new primary has not read the last writes in time", 0, 0});
    over();
  }
}

void Round::RunEngine(const std::vector<std::size_t>& indices) {
  std::vector<redis::Command> commands;
  std::vector<std::size_t> sent;
  for (const std::size_t index : indices) {
    const EngineEffect& effect = *AsEngine(plan_.effects[index]);
    const auto session = sessions_.find(effect.uid);
    if (session == sessions_.end()) continue;
    commands.push_back(CommandOf(seen_.group, effect, session->second, secrets_));
    if (!options_.plan.following) FeedAnyway(commands.back());
    if (!options_.plan.authority) SpareOthers(commands.back());
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
    acknowledged_.insert(effect.uid);
    Log(LogLevel::kInfo, "engine changed",
        {{"group", key_},
         {"member", name},
         {"epoch", plan_.record ? plan_.record->epoch : seen_.group.record.epoch},
         {"change", WordsOf(effect)},
         {"failover", FailoverIdOf(seen_, plan_)}});
    AfterEffect(plan_.effects[sent[i]]);
  }
}

// By a live read. A leader that was stopped goes on in the middle of its round: another one may
// have granted since what this one is about to change or to delete.
bool Round::StillRecorded(const std::string& why_not) {
  if (!options_.plan.authority) return true;
  const Result<model::Group> live = ReadGroup(ports_, seen_.group.meta);
  if (!live) {
    Note("read the record", live.error());
    Drop(why_not);
    return false;
  }
  if (live->record == (plan_.record ? *plan_.record : seen_.group.record)) return true;
  Drop("the record is not what was planned for");
  return false;
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
  const auto* removal = std::get_if<model::DeleteMember>(&effect);
  if (removal != nullptr && !StillRecorded("no authority to delete a member")) return;
  if (removal != nullptr && removal->not_after > 0 && ports_.clock->Now() > removal->not_after) {
    return Drop("the removal of " + removal->name + " rests on an answer that is too old by now");
  }
  Result<void> done = Perform(ports_, options_, seen_, secrets_, effect);
  // A write whose answer was lost may have moved the endpoint, too.
  if (const auto* slice = std::get_if<model::WriteSlice>(&effect)) {
    const MonoMs now = ports_.clock->Now();
    MonoMs& synced_at = state_.memory.proxies_synced_at;
    synced_at = plan::ProxySyncAfter(synced_at, now);
    if (slice->kind == model::SliceKind::kPrimary) {
      state_.memory.endpoint_at = now;
      LeaveAddresses(state_.memory, seen_, *slice);
    }
  }
  if (done) {
    if (removal != nullptr) state_.memory.shut_at[removal->uid] = ports_.clock->Now();
    Log(LogLevel::kInfo, "done",
        {{"group", key_},
         {"epoch", seen_.group.record.epoch},
         {"effect", NameOf(effect)},
         {"what", WordsOf(effect)},
         {"failover", FailoverIdOf(seen_, plan_)}});
    AfterEffect(effect);
  } else if (done.error().code == ErrorCode::kConflict &&
             std::holds_alternative<model::WriteSlice>(effect)) {
    Drop("the endpoint slice was changed by somebody else");
    return;
  } else if (done.error().code == ErrorCode::kConflict && DropsOnConflict(effect)) {
    Drop(done.error().message);
    return;
  } else {
    Note(WordsOf(effect), done.error());
  }
  if (++next_object_ < objects_.size()) return;
  if (interrupted_) Drop("something more urgent happened");
  phase_ = Phase::kOver;
}

void Round::AfterEffect(const model::Effect& effect) {
  // Passwords that were made are known from then on, whatever a human does to the Secret.
  const auto* applied = std::get_if<model::ApplyOwned>(&effect);
  if (applied != nullptr && applied->kind == model::OwnedKind::kSecret) {
    LearnPasswords(*ports_.caches, seen_.group, state_);
  }
  if (ports_.failpoint) ports_.failpoint("after-effect-" + NameOf(effect));
}

}  // namespace regroup::reconcile
