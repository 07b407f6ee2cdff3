#include "operator/reconcile/act.h"

#include <algorithm>
#include <cstdlib>
#include <functional>

#include "operator/base/log.h"
#include "operator/model/group_json.h"
#include "operator/reconcile/observe.h"
#include "operator/reconcile/record.h"
#include "operator/redis/commands.h"
#include "operator/render/acl.h"

namespace regroup::reconcile {

using model::EngineChange;

namespace {

struct Stage {
  const Ports& ports;
  const Options& options;
  const model::Observed& seen;
  const render::GroupSecrets& secrets;

  const model::Group& group() const { return seen.group; }
  kube::ObjectRef Ref(Watched kind, const std::string& name) const {
    return {TypeOf(kind).type, group().meta.namespace_name, name};
  }
  void Keep(Watched kind, const Json& object) const {
    ports.caches->Keep(kind, object, ports.clock->Now());
  }
  // What is there now; the caches may be behind, and know it from here on.
  Result<Json> Live(Watched kind, const std::string& name) const {
    Result<Json> live = ports.api->Get(Ref(kind, name), kApiTimeoutMs);
    if (live) Keep(kind, *live);
    return live;
  }
};

std::string ChangeName(EngineChange change) {
  switch (change) {
    case EngineChange::kFence: return "fence";
    case EngineChange::kDetach: return "detach";
    case EngineChange::kPromote: return "promote";
    case EngineChange::kFollow: return "follow";
    case EngineChange::kGuardOn: return "guard-on";
    case EngineChange::kGuardOff: return "guard-off";
    case EngineChange::kCutClients: return "cut-clients";
    case EngineChange::kSetConfig: return "set-config";
    case EngineChange::kShutdown: return "shutdown";
    case EngineChange::kSetAcl: return "set-acl";
  }
  return "change";
}

// A missing field reads as -1.
std::int64_t InfoNumber(const std::string& text, const std::string& field) {
  const std::size_t at = text.find("\n" + field + ":");
  if (at == std::string::npos) return -1;
  return std::strtoll(text.c_str() + at + field.size() + 2, nullptr, 10);
}

std::int64_t OffsetOf(const std::string& info) {
  const std::int64_t as_replica = InfoNumber(info, "slave_repl_offset");
  return as_replica >= 0 ? as_replica : InfoNumber(info, "master_repl_offset");
}

}  // namespace

std::int64_t OffsetIn(const redis::CommandReply& reply) {
  return reply.replies.empty() ? 0 : OffsetOf(reply.replies.back());
}

namespace {

model::Memory::Ack AckOf(const model::EngineEffect& effect, const redis::CommandReply& reply) {
  return {effect.run_id, reply.answered_at, OffsetIn(reply), reply.token};
}

Result<void> Simply(const Result<Json>& result) {
  if (!result) return tl::unexpected<Error>(result.error());
  return {};
}

// Creates, or reads what is there already (an earlier create whose answer was lost).
Result<void> CreateOrRead(const Stage& stage, Watched kind, const Json& object) {
  const std::string name = Str(At(object, {"metadata", "name"}));
  const kube::ObjectRef ref = stage.Ref(kind, name);
  Result<Json> created = stage.ports.api->Create(ref.type, ref.namespace_name, object,
                                                 kApiTimeoutMs);
  if (!created && created.error().code == ErrorCode::kAlreadyExists) {
    created = stage.ports.api->Get(ref, kApiTimeoutMs);
    if (created && stage.options.plan.one_group &&
        render::ParseOwned(*created).group_uid != stage.group().meta.uid) {
      return Fail(ErrorCode::kConflict, ref.type.resource + " " + name + " exists already and "
                  "belongs to another owner; delete it or rename the group.");
    }
  }
  if (created) stage.Keep(kind, *created);
  return Simply(created);
}

Result<void> Apply(const Stage& stage, Watched kind, const Json& object) {
  const kube::ObjectRef ref = stage.Ref(kind, Str(At(object, {"metadata", "name"})));
  Result<Json> stored = stage.ports.api->Apply(ref, kFieldManager, object, kApiTimeoutMs);
  if (stored) stage.Keep(kind, *stored);
  return Simply(stored);
}

// Passwords are made once: a Secret that exists is read, never replaced by new ones.
Result<void> ApplySecret(const Stage& stage) {
  if (!stage.secrets.operator_password.empty()) {
    return Apply(stage, Watched::kSecret, render::Secret(stage.group(), stage.secrets));
  }
  render::GroupSecrets fresh = stage.secrets;
  fresh.operator_password = stage.ports.new_password();
  fresh.watch_password = stage.ports.new_password();
  fresh.replication_password = stage.ports.new_password();
  return CreateOrRead(stage, Watched::kSecret, render::Secret(stage.group(), fresh));
}

Result<void> Do(const Stage& stage, const model::ApplyOwned& effect) {
  const model::Group& group = stage.group();
  Result<model::Resolved> resolved = model::Resolve(group.spec, stage.options.catalogue);
  if (!resolved) return tl::unexpected<Error>(resolved.error());
  switch (effect.kind) {
    case model::OwnedKind::kSecret: return ApplySecret(stage);
    case model::OwnedKind::kConfigMap:
      return Apply(stage, Watched::kConfigMap, render::ConfigMap(group, *resolved));
    case model::OwnedKind::kPrimaryService:
      return Apply(stage, Watched::kService,
                   render::Service(group, model::SliceKind::kPrimary));
    case model::OwnedKind::kReaderService:
      return Apply(stage, Watched::kService, render::Service(group, model::SliceKind::kReader));
    case model::OwnedKind::kPrimaryBudget:
      return Apply(stage, Watched::kBudget,
                   render::PodDisruptionBudget(group, render::BudgetKind::kPrimary));
    case model::OwnedKind::kReplicaBudget:
      return Apply(stage, Watched::kBudget,
                   render::PodDisruptionBudget(group, render::BudgetKind::kReplica));
  }
  return {};
}

// Whoever is born while the Secret holds other passwords, or other hashes of them, lets no operator
// in; the watch may not have told yet that a human changed it.
Result<void> SecretHolds(const Stage& stage) {
  const Result<Json> live = stage.Live(Watched::kSecret, render::SecretName(stage.group().meta));
  if (!live) return Simply(live);
  const Json whole = render::Secret(stage.group(), stage.secrets);
  if (Child(*live, "data") == Child(whole, "data")) return {};
  return Fail(ErrorCode::kConflict,
              "the group's Secret is not as it was made; it is put back first");
}

Result<void> Do(const Stage& stage, const model::CreateMember& effect) {
  Result<void> holds = SecretHolds(stage);
  if (!holds) return holds;
  const model::Group& group = stage.group();
  Result<model::Resolved> resolved = model::Resolve(group.spec, stage.options.catalogue);
  if (!resolved) return tl::unexpected<Error>(resolved.error());
  if (group.spec.storage) {
    Result<void> volume =
        CreateOrRead(stage, Watched::kVolume, render::Volume(group, effect.name));
    if (!volume) return volume;
  }
  Json pod = render::Pod(group, *resolved, effect.name, effect.zone);
  pod["metadata"]["annotations"][render::kPasswordsAnnotation] =
      render::PasswordsMark(stage.secrets);
  return CreateOrRead(stage, Watched::kPod, pod);
}

// Rule uid-preconditions: what is deleted is named by UID and resourceVersion from a live read.
Result<void> DeleteLive(const Stage& stage, Watched kind, const std::string& name,
                        const std::string& uid, const std::string& seen_version,
                        int grace_seconds) {
  const kube::ObjectRef ref = stage.Ref(kind, name);
  kube::Preconditions preconditions{uid, seen_version};
  if (stage.options.plan.uid_preconditions) {
    const Result<Json> live = stage.Live(kind, name);
    if (!live) {
      if (live.error().code != ErrorCode::kNotFound) return Simply(live);
      stage.ports.caches->KeepGone(kind, ref.namespace_name + "/" + name, uid,
                                   stage.ports.clock->Now());
      return {};
    }
    // A deletion under way is known now: a watch that lags must not make us delete for ever.
    if (Str(At(*live, {"metadata", "uid"})) != uid) return {};
    preconditions.resource_version = Str(At(*live, {"metadata", "resourceVersion"}));
  } else {
    preconditions = {};
  }
  Result<void> deleted =
      stage.ports.api->Delete(ref, preconditions, grace_seconds, kApiTimeoutMs);
  if (!deleted && deleted.error().code == ErrorCode::kNotFound) return {};
  return deleted;
}

// A human may have deleted it a moment ago, and the watch may be behind.
Result<void> HeirStays(const Stage& stage, const model::DeleteMember& effect) {
  const Result<Json> live = stage.Live(Watched::kPod, effect.heir_name);
  if (!live) return Simply(live);
  if (Str(At(*live, {"metadata", "uid"})) == effect.heir_uid &&
      !At(*live, {"metadata", "deletionTimestamp"}).is_string()) {
    return {};
  }
  return Fail(ErrorCode::kConflict, "the pod of " + effect.heir_name + ", which is to take over, "
              "is being deleted; " + effect.name + " is left alone");
}

Result<void> Do(const Stage& stage, const model::DeleteMember& effect) {
  if (!effect.heir_name.empty()) {
    Result<void> stays = HeirStays(stage, effect);
    if (!stays) return stays;
  }
  return DeleteLive(stage, Watched::kPod, effect.name, effect.uid, effect.resource_version,
                    effect.grace_seconds);
}

Result<void> Do(const Stage& stage, const model::DeleteVolume& effect) {
  return DeleteLive(stage, Watched::kVolume, effect.name, effect.uid, effect.resource_version, -1);
}

// Only without the rule endpoints: whatever is there now is written over.
Result<void> WriteOver(const Stage& stage, model::WriteSlice effect) {
  effect.resource_version.clear();
  const Json slice = render::EndpointSlice(stage.group(), effect);
  const kube::ObjectRef ref = stage.Ref(Watched::kSlice, Str(At(slice, {"metadata", "name"})));
  Result<Json> stored = stage.ports.api->Replace(ref, "", slice, kApiTimeoutMs);
  if (!stored && stored.error().code == ErrorCode::kNotFound) {
    return CreateOrRead(stage, Watched::kSlice, slice);
  }
  if (stored) stage.Keep(Watched::kSlice, *stored);
  return Simply(stored);
}

Result<void> Do(const Stage& stage, const model::WriteSlice& effect) {
  if (!stage.options.plan.endpoints) return WriteOver(stage, effect);
  const Json slice = render::EndpointSlice(stage.group(), effect);
  if (effect.resource_version.empty()) return CreateOrRead(stage, Watched::kSlice, slice);
  const kube::ObjectRef ref = stage.Ref(Watched::kSlice, Str(At(slice, {"metadata", "name"})));
  Result<Json> stored = stage.ports.api->Replace(ref, "", slice, kApiTimeoutMs);
  if (!stored && stored.error().code == ErrorCode::kConflict) {
    (void)stage.Live(Watched::kSlice, ref.name);  // it decides the next pass
  }
  if (stored) stage.Keep(Watched::kSlice, *stored);
  return Simply(stored);
}

Result<void> Do(const Stage& stage, const model::LabelRole& effect) {
  const Json patch{
      {"metadata", {{"uid", effect.uid}, {"labels", {{render::kRoleLabel, effect.role}}}}}};
  Result<Json> stored = stage.ports.api->MergePatch(stage.Ref(Watched::kPod, effect.name), "",
                                                    patch, kApiTimeoutMs);
  if (stored) stage.Keep(Watched::kPod, *stored);
  return Simply(stored);
}

Result<void> Do(const Stage& stage, const model::SetFinalizer& effect) {
  const kube::ObjectRef ref = RefOf(stage.group().meta);
  Result<Json> live = stage.ports.api->Get(ref, kApiTimeoutMs);
  if (!live) return Simply(live);
  if (Str(At(*live, {"metadata", "uid"})) != stage.group().meta.uid) return {};
  Json finalizers = Json::array();
  const Json& held = At(*live, {"metadata", "finalizers"});
  if (held.is_array()) {
    for (const Json& name : held) {
      if (Str(name) != model::kFinalizer) finalizers.push_back(name);
    }
  }
  if (effect.present) finalizers.push_back(model::kFinalizer);
  const Json patch{{"metadata",
                    {{"uid", stage.group().meta.uid},
                     {"resourceVersion", Str(At(*live, {"metadata", "resourceVersion"}))},
                     {"finalizers", finalizers}}}};
  Result<Json> stored = stage.ports.api->MergePatch(ref, "", patch, kApiTimeoutMs);
  if (stored) stage.Keep(Watched::kGroup, *stored);
  if (!stored && stored.error().code == ErrorCode::kNotFound) return {};
  return Simply(stored);
}

Result<void> Do(const Stage& stage, const model::EmitEvent& effect) {
  // Two Events of one group in one millisecond differ by what they say.
  const std::uint64_t mark = std::hash<std::string>{}(effect.reason + effect.message);
  const WallMs wall_now = stage.ports.clock->WallNow();
  const Json event = render::Event(stage.group(), effect, wall_now, stage.options.identity,
                                   mark);
  Result<Json> created =
      stage.ports.api->Create({"events.k8s.io", "v1", "events", true},
                              stage.group().meta.namespace_name, event, kApiTimeoutMs);
  // An Event is for people: without it the group is as well as with it.
  if (!created) {
    Log(LogLevel::kWarn, "event not written",
        {{"group", model::KeyOf(stage.group().meta)}, {"error", created.error().message}});
  }
  return {};
}

Result<void> Do(const Stage&, const model::EngineEffect&) {
  return Fail(ErrorCode::kInternal, "engine effects go over the fleet");
}

bool IsPressing(const model::Effect& effect) {
  if (const auto* engine = std::get_if<model::EngineEffect>(&effect)) {
    switch (engine->change) {
      case EngineChange::kFence:
      case EngineChange::kDetach:
      case EngineChange::kPromote:
      case EngineChange::kGuardOff:
      case EngineChange::kShutdown: return true;
      case EngineChange::kFollow:
      case EngineChange::kGuardOn:
      case EngineChange::kCutClients:
      case EngineChange::kSetConfig:
      case EngineChange::kSetAcl: return false;
    }
  }
  return std::holds_alternative<model::WriteSlice>(effect) ||
         std::holds_alternative<model::DeleteMember>(effect);
}

}  // namespace

bool IsPressing(const model::NodeGroupRecord& record, const model::Plan& plan) {
  if (plan.record && plan.record->transition && plan.record->transition != record.transition) {
    return true;
  }
  return std::any_of(plan.effects.begin(), plan.effects.end(),
                     [](const model::Effect& effect) { return IsPressing(effect); });
}

std::string NameOf(const model::Effect& effect) {
  static const char* kNames[] = {"EngineEffect", "CreateMember", "DeleteMember",
                                 "ApplyOwned",   "WriteSlice",   "LabelRole",
                                 "DeleteVolume", "SetFinalizer", "EmitEvent"};
  return kNames[effect.index()];
}

std::string WordsOf(const model::Effect& effect) {
  if (const auto* engine = std::get_if<model::EngineEffect>(&effect)) {
    return ChangeName(engine->change) + ": " + engine->reason;
  }
  if (const auto* create = std::get_if<model::CreateMember>(&effect)) {
    return "create " + create->name + (create->zone.empty() ? "" : " in " + create->zone) + ": " +
           create->reason;
  }
  if (const auto* gone = std::get_if<model::DeleteMember>(&effect)) {
    return "delete " + gone->name + ": " + gone->reason;
  }
  if (const auto* slice = std::get_if<model::WriteSlice>(&effect)) {
    std::string names;
    for (const model::SliceEndpoint& endpoint : slice->endpoints) names += " " + endpoint.name;
    return std::string(slice->kind == model::SliceKind::kPrimary ? "primary" : "reader") +
           " endpoint serves" + names;
  }
  if (const auto* label = std::get_if<model::LabelRole>(&effect)) {
    return "label " + label->name + " as " + label->role;
  }
  if (const auto* event = std::get_if<model::EmitEvent>(&effect)) {
    return event->reason + ": " + event->message;
  }
  return NameOf(effect);
}

std::string FailoverIdOf(const model::Observed& seen, const model::Plan& plan) {
  if (!plan.failover_id.empty()) return plan.failover_id;
  const auto& next = plan.record ? plan.record->transition : seen.group.record.transition;
  if (next) return next->id;
  return seen.group.record.transition ? seen.group.record.transition->id : "";
}

redis::Command CommandOf(const model::Group& group, const model::EngineEffect& effect,
                         const redis::Session& session, const render::GroupSecrets& secrets) {
  const std::string user = render::kOperatorUser;
  const std::string feeder = render::kReplicationUser;
  redis::Command command{session, effect.run_id, {}, false};
  switch (effect.change) {
    case EngineChange::kFence: command.transaction = redis::Fence(user, feeder); break;
    case EngineChange::kDetach: command.transaction = redis::Detach(user, feeder); break;
    case EngineChange::kPromote:
      command.transaction = redis::Promote(user, feeder);
      break;
    case EngineChange::kFollow:
      command.transaction = redis::Follow(user, feeder, effect.address, effect.port);
      break;
    case EngineChange::kGuardOn: command.transaction = redis::GuardOn(user); break;
    case EngineChange::kGuardOff: command.transaction = redis::GuardOff(user); break;
    case EngineChange::kCutClients: command.transaction = redis::CutClients(user); break;
    case EngineChange::kSetConfig:
      command.transaction = redis::SetConfig(user, effect.config);
      break;
    case EngineChange::kShutdown:
      command.transaction = redis::Shutdown();
      command.alone = true;
      break;
    case EngineChange::kSetAcl:
      command.transaction =
          redis::SetAcl(user, render::DefaultUserRules(group.spec.engine, secrets));
      break;
  }
  return command;
}

std::string FailureOf(const redis::CommandReply& reply) {
  if (reply.replies.empty()) return "the engine did not execute the transaction";
  for (const std::string& text : reply.replies) {
    if (!text.empty() && text.front() == '-') return text.substr(1);
  }
  return "";
}

namespace {

// A command that sets more than it is named after has overwritten these.
void Forget(model::Memory& memory, const std::string& run_id,
            std::initializer_list<const char*> names) {
  memory.applied_parameters[run_id].Change([&](auto& settings) {
    for (const char* name : names) settings.erase(name);
  });
}

}  // namespace

void Remember(model::Memory& memory, const model::Observed& seen,
              const model::EngineEffect& effect, const redis::CommandReply& reply) {
  const model::Member* member = seen.FindMember(effect.uid);
  // A suspect that restarted takes no writes, but the endpoint led to it until it moved: a client
  // that came meanwhile would stay there and hear READONLY for ever.
  const std::vector<std::string>& suspects = seen.group.record.suspects;
  const bool suspected =
      std::find(suspects.begin(), suspects.end(), effect.uid) != suspects.end();
  const bool served = suspected ||
                      (member != nullptr && member->engine.facts &&
                       member->engine.facts->is_primary);
  const model::Memory::Ack ack = AckOf(effect, reply);
  memory.changed[effect.uid] = ack;
  switch (effect.change) {
    case EngineChange::kDetach:
      memory.fenced[effect.uid] = ack;
      break;
    case EngineChange::kFence:
      memory.fenced[effect.uid] = ack;
      Forget(memory, effect.run_id, {"replica-serve-stale-data", "repl-timeout"});
      if (served) {
        memory.demoted_at[effect.uid] = reply.answered_at;
        memory.clients_cut[effect.uid] = 0;
      }
      break;
    case EngineChange::kPromote:
      memory.promoted_at = reply.answered_at;
      Forget(memory, effect.run_id, {"repl-timeout"});
      memory.fenced.erase(effect.uid);
      memory.guarded.erase(effect.uid);  // a promotion switches it off
      memory.demoted_at.erase(effect.uid);
      memory.clients_cut.erase(effect.uid);
      break;
    case EngineChange::kFollow: memory.fenced.erase(effect.uid); break;
    case EngineChange::kCutClients:
      if (effect.step) ++memory.clients_cut[effect.uid];
      if (suspected) memory.demoted_at.emplace(effect.uid, reply.answered_at);
      break;
    case EngineChange::kSetConfig:
      memory.applied_parameters[effect.run_id].Change([&](auto& settings) {
        for (const auto& [name, value] : effect.config) settings[name] = value;
      });
      break;
    case EngineChange::kSetAcl: memory.applied_acl[effect.run_id] = seen.acl_hash; break;
    case EngineChange::kShutdown: memory.shut_at[effect.run_id] = reply.answered_at; break;
    case EngineChange::kGuardOn: memory.guarded[effect.uid] = ack; break;
    case EngineChange::kGuardOff: memory.guarded.erase(effect.uid); break;
  }
}

Result<void> Perform(const Ports& ports, const Options& options, const model::Observed& seen,
                     const render::GroupSecrets& secrets, const model::Effect& effect) {
  const Stage stage{ports, options, seen, secrets};
  return std::visit([&](const auto& one) { return Do(stage, one); }, effect);
}

}  // namespace regroup::reconcile
