#include "operator/reconcile/observe.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "operator/render/acl.h"

namespace regroup::reconcile {

using model::Member;
using model::Observed;
using model::OwnedKind;

namespace {

constexpr MonoMs kJustGoneMs = 60'000;  // a kubelet in touch has ended it by then

std::string InNamespace(const model::GroupMeta& meta, const std::string& name) {
  return meta.namespace_name + "/" + name;
}

model::EngineFacts FactsOf(const redis::Info& info) {
  model::EngineFacts facts;
  facts.run_id = info.run_id;
  facts.version = info.version;
  facts.uptime_seconds = info.uptime_seconds;
  facts.is_primary = info.is_primary;
  facts.repl_id = info.repl_id;
  facts.repl_id2 = info.repl_id2;
  facts.offset = info.offset;
  facts.second_repl_offset = info.second_repl_offset;
  facts.primary_host = info.primary_host;
  facts.primary_port = info.primary_port;
  facts.link_up = info.link_up;
  facts.last_io_seconds = info.last_io_seconds;
  facts.link_down_seconds = info.link_down_seconds;
  facts.read_offset = info.read_offset;
  facts.sync_in_progress = info.sync_in_progress;
  facts.loading = info.loading;
  facts.disk_failed = info.disk_failed;
  facts.guard_on = info.guard_on;
  facts.good_replicas = info.good_replicas;
  facts.keys = info.keys;
  facts.used_memory_bytes = info.used_memory_bytes;
  for (const redis::InfoReplica& line : info.replicas) {
    facts.replicas.push_back({line.address, line.port, line.online, line.offset,
                              line.lag_seconds});
  }
  return facts;
}

model::Reach ReachOf(redis::Reach reach) {
  switch (reach) {
    case redis::Reach::kUnknown: return model::Reach::kUnknown;
    case redis::Reach::kAnswering: return model::Reach::kAnswering;
    case redis::Reach::kRefused: return model::Reach::kRefused;
    case redis::Reach::kUnreachable: return model::Reach::kUnreachable;
    case redis::Reach::kSilent: return model::Reach::kSilent;
    case redis::Reach::kDenied: return model::Reach::kDenied;
  }
  return model::Reach::kUnknown;
}

// Whom the primary's endpoint names where the record is lost or older: the last that is known of
// who may take writes.
std::vector<model::SliceEndpoint> Unrecorded(const Caches& caches, const model::Group& group) {
  const auto stored = caches.Slice(
      InNamespace(group.meta, render::SliceName(group.meta, model::SliceKind::kPrimary)));
  const bool younger = stored != nullptr && stored->controller_uid == group.meta.uid &&
                       stored->view.epoch > group.record.epoch;
  std::vector<model::SliceEndpoint> list;
  if (younger) list = stored->view.endpoints;
  if (const auto& seen = group.forgotten_primary) {
    list.push_back({seen->uid, seen->name, seen->address, seen->node, ""});
  }
  return list;
}

// Every UID that the record names; where there is no record, also whose pod went a moment ago: its
// process may still run, and hold the data.
std::set<std::string> RecordedUids(const Caches& caches, const model::Group& group, MonoMs now) {
  const model::NodeGroupRecord& record = group.record;
  std::set<std::string> uids(record.members.begin(), record.members.end());
  if (!record.primary) {
    const auto gone = caches.DepartedSince(group.meta.uid, now - kJustGoneMs);
    uids.insert(gone.begin(), gone.end());
  }
  for (const auto& endpoint : Unrecorded(caches, group)) uids.insert(endpoint.uid);
  uids.insert(record.suspects.begin(), record.suspects.end());
  for (const model::MemberRef& ref : record.in_sync) uids.insert(ref.uid);
  if (record.primary) uids.insert(record.primary->uid);
  uids.erase("");
  return uids;
}

// What is known of a member whose pod object is gone: of the primary the record knows enough to
// watch it and to fence it, also after a restart of the operator.
std::optional<model::PodView> LastSeen(const Caches& caches, const model::Group& group,
                                       const std::string& uid) {
  const model::NodeGroupRecord& record = group.record;
  std::optional<model::PodView> pod = caches.Departed(uid);
  for (const model::SliceEndpoint& endpoint : Unrecorded(caches, group)) {
    if (pod || endpoint.uid != uid) continue;
    pod = model::PodView{};
    pod->uid = uid;
    pod->name = endpoint.name;
    pod->ip = endpoint.address;
    pod->node = endpoint.node;
    pod->deleting = true;
  }
  if (pod || !record.primary || record.primary->uid != uid || record.primary->address.empty()) {
    return pod;
  }
  pod = model::PodView{};
  pod->uid = uid;
  pod->name = record.primary->name;
  pod->ip = record.primary->address;
  pod->node = record.primary->node;
  pod->container_id = record.primary->container_id;
  pod->deleting = true;
  return pod;
}

void AddMembers(Observed& seen, const Caches& caches,
                const std::map<std::string, redis::MemberFacts>& facts) {
  std::set<std::string> known;
  const auto pods = caches.Pods(model::KeyOf(seen.group.meta));
  seen.members.reserve(pods.size() + seen.group.record.members.size());  // a Member is large
  for (const auto& pod : pods) {
    if (pod->group_uid != seen.group.meta.uid) {
      seen.taken_names.push_back(pod->view.name);
      continue;
    }
    Member member;
    member.uid = pod->view.uid;
    member.name = pod->view.name;
    member.pod = pod->view;
    known.insert(member.uid);
    seen.members.push_back(std::move(member));
  }
  for (const std::string& uid : RecordedUids(caches, seen.group, seen.now)) {
    if (known.count(uid) > 0) continue;
    Member member;
    member.uid = uid;
    member.departed = LastSeen(caches, seen.group, uid);
    if (member.departed) member.name = member.departed->name;
    const auto& primary = seen.group.record.primary;
    if (member.name.empty() && primary && primary->uid == uid) member.name = primary->name;
    seen.members.push_back(std::move(member));
  }
  for (Member& member : seen.members) {
    const auto found = facts.find(member.uid);
    if (found != facts.end()) member.engine = EngineViewOf(found->second);
  }
  const auto before = [](const Member& a, const Member& b) {
    return std::tie(a.name, a.uid) < std::tie(b.name, b.uid);
  };
  // Nearly always they are in order, and to find that out moves nothing.
  if (std::is_sorted(seen.members.begin(), seen.members.end(), before)) return;
  std::sort(seen.members.begin(), seen.members.end(), before);
}

void AddSlices(Observed& seen, const Caches& caches) {
  for (const model::SliceKind kind : {model::SliceKind::kPrimary, model::SliceKind::kReader}) {
    const auto stored = caches.Slice(
        InNamespace(seen.group.meta, render::SliceName(seen.group.meta, kind)));
    if (stored == nullptr) continue;
    model::SliceView view = stored->view;
    view.foreign = stored->controller_uid != seen.group.meta.uid;
    (kind == model::SliceKind::kPrimary ? seen.primary_slice : seen.reader_slice) = view;
  }
}

void AddOwned(Observed& seen, const Caches& caches, const Rendered& rendered) {
  const model::GroupMeta& meta = seen.group.meta;
  const auto put = [&](OwnedKind kind, const render::OwnedObject* stored) {
    seen.owned[kind] = render::StateOf(stored, rendered.fingerprints.at(kind), meta.uid);
  };
  const auto owned = [&](Watched watched, const std::string& name) {
    return caches.Owned(watched, InNamespace(meta, name));
  };
  const auto secret = caches.Secret(InNamespace(meta, render::SecretName(meta)));
  put(OwnedKind::kSecret, secret == nullptr ? nullptr : &secret->object);
  put(OwnedKind::kConfigMap, owned(Watched::kConfigMap, render::ConfigMapName(meta)).get());
  put(OwnedKind::kPrimaryService, owned(Watched::kService, render::PrimaryServiceName(meta)).get());
  put(OwnedKind::kReaderService, owned(Watched::kService, render::ReaderServiceName(meta)).get());
  const auto budget = [&](render::BudgetKind kind) {
    return owned(Watched::kBudget, render::DisruptionBudgetName(meta, kind));
  };
  put(OwnedKind::kPrimaryBudget, budget(render::BudgetKind::kPrimary).get());
  put(OwnedKind::kReplicaBudget, budget(render::BudgetKind::kReplica).get());
}

// The settings that differ from what some member was born with, sorted.
std::vector<std::string> PendingRestart(const Observed& seen,
                                        const std::map<std::string, std::string>& wanted) {
  std::set<std::string> pending;
  for (const Member& member : seen.members) {
    if (!member.pod || member.pod->deleting || member.pod->born_with->empty()) continue;
    for (const auto& [name, value] : wanted) {
      const auto born = member.pod->born_with->find(name);
      if (born == member.pod->born_with->end() || born->second != value) pending.insert(name);
    }
    for (const auto& [name, value] : *member.pod->born_with) {
      if (wanted.count(name) == 0) pending.insert(name);
    }
  }
  return {pending.begin(), pending.end()};
}

std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += word + " ";
  return text;
}

void Render(const model::Group& group, const render::GroupSecrets& secrets,
            const model::Catalogue& catalogue, Rendered& rendered) {
  const std::string key = group.meta.uid + "/" + std::to_string(group.meta.generation) + "/" +
                          render::PasswordsMark(secrets) + "/" + secrets.default_password;
  if (rendered.key == key) return;
  rendered = Rendered{};
  rendered.key = key;
  Result<model::Resolved> resolved = model::Resolve(group.spec, catalogue);
  if (!resolved) {
    rendered.error = resolved.error().message;
    return;
  }
  rendered.resolved = *resolved;
  rendered.fingerprints = {
      {OwnedKind::kSecret, render::FingerprintOf(render::Secret(group, secrets))},
      {OwnedKind::kConfigMap, render::FingerprintOf(render::ConfigMap(group, *resolved))},
      {OwnedKind::kPrimaryService,
       render::FingerprintOf(render::Service(group, model::SliceKind::kPrimary))},
      {OwnedKind::kReaderService,
       render::FingerprintOf(render::Service(group, model::SliceKind::kReader))},
      {OwnedKind::kPrimaryBudget,
       render::FingerprintOf(render::PodDisruptionBudget(group, render::BudgetKind::kPrimary))},
      {OwnedKind::kReplicaBudget,
       render::FingerprintOf(render::PodDisruptionBudget(group, render::BudgetKind::kReplica))}};
  rendered.live_parameters = model::Settings(render::LiveParameters(group, *resolved));
  rendered.born_with = model::Settings(render::BornWith(group, *resolved));
  rendered.acl_hash =
      render::Sha256Hex(Joined(render::DefaultUserRules(group.spec.engine, secrets))).substr(0, 16);
}

}  // namespace

model::EngineView EngineViewOf(const redis::MemberFacts& facts) {
  model::EngineView view;
  view.reach = ReachOf(facts.reach);
  view.reach_since = facts.reach_since;
  view.reach_was = ReachOf(facts.reach_was);
  if (facts.info) view.facts = FactsOf(*facts.info);
  view.facts_at = facts.info_at;
  view.last_heard = facts.last_heard;
  view.offset_still_since = facts.offset_still_since;
  view.fenced_since = facts.fenced_since;
  view.link_down_since = facts.link_down_since;
  view.late_since = facts.late_since;
  view.fin_run_id = facts.fin_run_id;
  view.fin_at = facts.fin_at;
  view.refused_at = facts.refused_at;
  view.control_token = facts.control_token;
  view.busy = facts.busy;
  return view;
}

render::GroupSecrets StoredSecrets(const Caches& caches, const model::Group& group) {
  const auto stored =
      caches.Secret(InNamespace(group.meta, render::SecretName(group.meta)));
  if (stored == nullptr || stored->object.controller_uid != group.meta.uid) return {};
  return stored->secrets;
}

Observed Observe(const Caches& caches, const model::Group& group,
                 const std::map<std::string, redis::MemberFacts>& facts,
                 const model::Memory& memory, const Surroundings& around, Rendered& rendered) {
  Observed seen;
  seen.now = around.now;
  seen.wall_now = around.wall_now;
  seen.group = group;
  seen.memory = memory;
  seen.last_error = around.last_error;
  AddMembers(seen, caches, facts);
  AddSlices(seen, caches);
  for (const auto& node : caches.Nodes()) {
    seen.nodes.push_back(render::ViewOf(*node, group.spec));
  }
  for (const auto& volume : caches.Volumes(model::KeyOf(group.meta))) {
    model::VolumeView view = volume->view;
    view.foreign = volume->group_uid != group.meta.uid;
    seen.volumes.push_back(std::move(view));
  }
  if (!group.spec_error.empty()) return seen;
  Render(group, around.secrets, *around.catalogue, rendered);
  seen.resolve_error = rendered.error.empty() ? around.auth_error : rendered.error;
  if (!seen.resolve_error.empty()) return seen;
  AddOwned(seen, caches, rendered);
  // The members know those that they were born with, so those are what the Secret must hold.
  seen.passwords_known = !around.secrets.operator_password.empty();
  seen.live_parameters = *rendered.live_parameters;
  seen.restart_parameters = PendingRestart(seen, *rendered.born_with);
  seen.acl_hash = rendered.acl_hash;
  return seen;
}

std::vector<redis::Target> TargetsOf(const Caches& caches, const model::Group& group, MonoMs now) {
  std::vector<redis::Target> targets;
  std::set<std::string> addresses;
  std::set<std::string> uids;
  for (const auto& pod : caches.Pods(model::KeyOf(group.meta))) {
    if (pod->group_uid != group.meta.uid || pod->view.ip.empty()) continue;
    if (pod->view.failed) continue;
    targets.push_back({pod->view.uid, pod->view.ip, group.spec.port});
    addresses.insert(pod->view.ip);
    uids.insert(pod->view.uid);
  }
  for (const std::string& uid : RecordedUids(caches, group, now)) {
    if (uids.count(uid) > 0) continue;
    const std::optional<model::PodView> gone = LastSeen(caches, group, uid);
    if (!gone || gone->ip.empty() || addresses.count(gone->ip) > 0) continue;
    targets.push_back({uid, gone->ip, group.spec.port});
  }
  return targets;
}

std::set<std::string> VanishedUids(const Caches& caches, const model::Group& group, MonoMs now) {
  std::set<std::string> uids = RecordedUids(caches, group, now);
  for (const auto& pod : caches.Pods(model::KeyOf(group.meta))) uids.erase(pod->view.uid);
  return uids;
}

redis::Credentials CredentialsOf(const render::GroupSecrets& secrets) {
  redis::Credentials credentials;
  credentials.watch_user = render::kWatchUser;
  credentials.watch_password = secrets.watch_password;
  credentials.control_user = render::kOperatorUser;
  credentials.control_password = secrets.operator_password;
  return credentials;
}

}  // namespace regroup::reconcile
