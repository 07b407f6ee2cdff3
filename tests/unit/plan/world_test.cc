// The words of world.h.
#include "tests/unit/plan/world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

namespace regroup::plan::testing {

using model::EngineChange;
using model::Member;

namespace {

std::string Uid(int index) { return "uid-" + NameOf(index).substr(10); }
std::string Run(int index) { return "run-" + std::to_string(index); }
std::string Ip(int index) { return "10.0.0." + std::to_string(index); }

const char* Verb(EngineChange change) {
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
  return "?";
}

struct EffectText {
  std::string operator()(const model::EngineEffect& e) const {
    std::string text = Verb(e.change) + (" " + Short(e.uid));
    if (e.change == EngineChange::kFollow) text += " " + e.address + ":" + std::to_string(e.port);
    if (!e.after_uid.empty()) text += " after " + Short(e.after_uid);
    for (const auto& [name, value] : e.config) text += " " + name + "=" + value;
    return text;
  }
  std::string operator()(const model::CreateMember& e) const {
    return "create " + Short(e.name) + (e.zone.empty() ? "" : " " + e.zone);
  }
  std::string operator()(const model::DeleteMember& e) const {
    return "delete " + Short(e.name) + " uid=" + e.uid + " rv=" + e.resource_version +
           (e.grace_seconds < 0 ? "" : " grace=" + std::to_string(e.grace_seconds)) +
           (e.heir_uid.empty() ? "" : " heir=" + e.heir_uid);
  }
  std::string operator()(const model::ApplyOwned& e) const {
    return "apply " + std::to_string(static_cast<int>(e.kind));
  }
  std::string operator()(const model::WriteSlice& e) const {
    std::string text = e.kind == model::SliceKind::kPrimary ? "primary-slice" : "reader-slice";
    text += " e" + std::to_string(e.epoch) + " rv=" + e.resource_version + " [";
    for (const model::SliceEndpoint& endpoint : e.endpoints) {
      text += (text.back() == '[' ? "" : " ") + Short(endpoint.name) + "/" + endpoint.address +
              "/" + endpoint.zone;
    }
    return text + "]";
  }
  std::string operator()(const model::LabelRole& e) const {
    return "label " + Short(e.name) + " " + e.role;
  }
  std::string operator()(const model::DeleteVolume& e) const {
    return "delete-volume " + e.name + " uid=" + e.uid + " rv=" + e.resource_version;
  }
  std::string operator()(const model::SetFinalizer& e) const {
    return e.present ? "finalizer on" : "finalizer off";
  }
  std::string operator()(const model::EmitEvent& e) const { return "event " + e.reason; }
};

std::string Joint(const std::vector<std::string>& uids) {
  std::string text;
  for (const std::string& uid : uids) text += (text.empty() ? "" : ",") + Short(uid);
  return text;
}

}  // namespace

std::string NameOf(int index) {
  char text[24];
  std::snprintf(text, sizeof text, "web-cache-%03d", index);
  return text;
}

std::string Short(const std::string& text) {
  const std::size_t dash = text.rfind('-');
  return dash == std::string::npos ? text : text.substr(dash + 1);
}

World::World(int members) {
  seen.now = kNow;
  seen.wall_now = kWallNow;
  seen.group.meta = {"default", "web-cache", "group-uid", "77", 5, false, true, false, ""};
  spec().engine_version = "7.0";
  spec().cache_node_type = "cache.t4g.small";
  spec().replicas = members - 1;
  spec().automatic_failover_enabled = members > 1;
  seen.group.has_record = true;
  record().epoch = 3;
  record().lineage = {{"history-1", -1}};
  record().write_guard = members > 1;
  for (int i = 1; i <= 3; ++i) {
    model::NodeView node;
    node.name = "node-" + std::to_string(i);
    node.zone = std::string("zone-") + static_cast<char>('a' + i - 1);
    node.ready = node.schedulable = true;
    seen.nodes.push_back(node);
  }
  for (const auto kind : {model::OwnedKind::kSecret, model::OwnedKind::kConfigMap,
                          model::OwnedKind::kPrimaryService, model::OwnedKind::kReaderService,
                          model::OwnedKind::kPrimaryBudget, model::OwnedKind::kReplicaBudget}) {
    seen.owned[kind] = model::OwnedState::kCurrent;
  }
  seen.passwords_known = true;
  seen.acl_hash = "acl-1";
  seen.live_parameters = {{"maxmemory", "100"}};
  seen.memory.leading_since = 1;
  for (int i = 1; i <= members; ++i) Add(i);
  record().primary = model::PrimaryRef{Uid(1), NameOf(1), Run(1), "containerd://c1",
                                       pod(1).ip, pod(1).node};
  record().guard_lag_seconds = 2;
  AsPrimary(1);
  for (const char* slice : {"primary", "reader"}) {
    const bool reader = slice[0] == 'r';
    model::SliceView& view = reader ? seen.reader_slice : seen.primary_slice;
    view.exists = true;
    view.epoch = 3;
    view.resource_version = reader ? "32" : "31";
    for (const Member& member : seen.members) {
      if ((member.uid != Uid(1)) != (reader && members > 1)) continue;
      view.endpoints.push_back(
          {member.uid, member.name, member.pod->ip, member.pod->node, member.pod->zone});
    }
  }
}

Member& World::at(int index) {
  for (Member& member : seen.members) {
    if (member.name == NameOf(index)) return member;
  }
  std::fprintf(stderr, "no member %d in this world\n", index);
  std::abort();
}

void World::Applied(const std::string& run_id, const std::string& name,
                    const std::string& value) {
  seen.memory.applied_parameters[run_id].Change([&](auto& settings) { settings[name] = value; });
}

void World::Add(int index) {
  AddFresh(index);
  Member& member = at(index);
  record().members.push_back(member.uid);
  seen.memory.applied_acl[Run(index)] = "acl-1";
  Applied(Run(index), "maxmemory", "100");
  member.pod->role_label = index == 1 ? "primary" : "replica";
  if (index == 1) return;
  model::EngineFacts& facts = *member.engine.facts;
  facts.primary_host = Ip(1);
  facts.primary_port = 6379;
  facts.link_up = true;
  facts.last_io_seconds = 0;
  facts.repl_id = "history-1";
  facts.offset = facts.read_offset = 100;
  facts.keys = 10;
  member.engine.fenced_since = member.engine.link_down_since = 0;
  record().in_sync.push_back({member.uid, Run(index)});
  Applied(Run(index), "replica-serve-stale-data", "yes");
}

World& World::AddFresh(int index) {
  Member member;
  member.uid = Uid(index);
  member.name = NameOf(index);
  model::PodView pod;
  pod.name = member.name;
  pod.uid = member.uid;
  pod.resource_version = "1" + std::to_string(index);
  pod.ip = Ip(index);
  const int place = (index - 1) % 3;
  pod.node = "node-" + std::to_string(place + 1);
  pod.zone = std::string("zone-") + static_cast<char>('a' + place);
  pod.first_seen = kNow - 600'000;
  pod.scheduled = pod.ready = pod.running = true;
  pod.container_id = "containerd://c" + std::to_string(index);
  member.pod = pod;
  model::EngineFacts facts;
  facts.run_id = Run(index);
  facts.version = "7.0.15";
  facts.uptime_seconds = 600;
  facts.primary_host = "127.0.0.1";
  facts.primary_port = 1;
  facts.repl_id = "own-" + std::to_string(index);
  facts.last_io_seconds = -1;
  member.engine.facts = facts;
  member.engine.reach = model::Reach::kAnswering;
  member.engine.facts_at = member.engine.last_heard = kNow - 100;
  member.engine.offset_still_since = kNow - 100;
  member.engine.fenced_since = member.engine.link_down_since = kNow - 600'000;
  seen.members.push_back(member);
  return *this;
}

World& World::RemoveMember(int index) {
  const std::string uid = at(index).uid;
  std::erase_if(seen.members, [&](const Member& member) { return member.uid == uid; });
  std::erase(record().members, uid);
  std::erase_if(record().in_sync, [&](const auto& ref) { return ref.uid == uid; });
  return *this;
}

World& World::AsPrimary(int index) {
  model::EngineFacts& head = facts(index);
  head.is_primary = true;
  head.primary_host.clear();
  head.primary_port = 0;
  head.link_up = false;
  head.repl_id = "history-1";
  head.offset = 100;
  head.keys = 10;
  Applied(head.run_id, "repl-timeout", record().write_guard ? "2" : "10");
  head.guard_on = record().write_guard;
  engine(index).fenced_since = engine(index).link_down_since = 0;
  head.replicas.clear();
  for (const Member& member : seen.members) {
    if (!member.engine.facts || member.name == NameOf(index)) continue;
    if (member.engine.facts->primary_host != Ip(index)) continue;
    head.replicas.push_back({member.pod->ip, 6379, true, 100, 0});
  }
  return *this;
}

World& World::Fin(int index, std::int64_t ago_ms) {
  model::EngineView& view = engine(index);
  view.reach = model::Reach::kRefused;
  view.reach_since = view.fin_at = kNow - ago_ms;
  view.last_heard = kNow - ago_ms - 10;
  view.facts_at = kNow - ago_ms - 10;
  view.fin_run_id = Run(index);
  view.refused_at = kNow - ago_ms + 1;
  return Ended(index);
}

// The operator has seen the end of what the record names as the primary.
World& World::Ended(int index) {
  if (!record().primary || record().primary->uid != Uid(index)) return *this;
  seen.memory.ended_run = record().primary->run_id;
  seen.memory.ended_at = kNow - 40;
  return *this;
}

World& World::Die(int index) {
  Fin(index, 50);
  for (Member& member : seen.members) {
    if (member.engine.facts && member.engine.facts->primary_host == Ip(index)) {
      LinkDown(static_cast<int>(std::stoi(Short(member.name))));
    }
  }
  return *this;
}

World& World::Lose(int index, std::int64_t quiet_ms) {
  engine(index).reach = model::Reach::kUnreachable;
  engine(index).reach_since = engine(index).last_heard = kNow - quiet_ms;
  engine(index).facts_at = kNow - quiet_ms;
  return *this;
}

World& World::Hang(int index, std::int64_t quiet_ms) {
  Lose(index, quiet_ms);
  engine(index).reach = model::Reach::kSilent;
  engine(index).reach_was = model::Reach::kAnswering;
  engine(index).reach_since += std::min<std::int64_t>(quiet_ms, 1000);
  return *this;
}

World& World::Restart(int index) {
  Fence(index);
  model::EngineFacts& now = facts(index);
  now.run_id = Run(index) + "-b";
  now.repl_id = "own-b-" + std::to_string(index);
  now.offset = now.read_offset = now.keys = now.uptime_seconds = 0;
  now.guard_on = false;
  now.replicas.clear();
  seen.memory.applied_acl[now.run_id] = "acl-1";
  Applied(now.run_id, "maxmemory", "100");
  engine(index).facts_at = engine(index).last_heard = kNow - 10;
  pod(index).restart_count = 1;
  Ended(index);
  for (Member& member : seen.members) {
    if (member.engine.facts->primary_host == Ip(index)) LinkDown(std::stoi(Short(member.name)));
  }
  return *this;
}

World& World::Fence(int index) {
  model::EngineFacts& now = facts(index);
  now.is_primary = now.link_up = false;
  now.primary_host = "127.0.0.1";
  now.primary_port = 1;
  engine(index).reach = model::Reach::kAnswering;
  engine(index).facts_at = engine(index).last_heard = kNow - 5;
  engine(index).fenced_since = engine(index).link_down_since = kNow - 5;
  return *this;
}

World& World::LinkDown(int index) {
  facts(index).link_up = false;
  engine(index).facts_at = engine(index).last_heard = kNow - 5;
  engine(index).link_down_since = kNow - 45;
  return *this;
}

World& World::Still(int index, std::int64_t ms) {
  engine(index).offset_still_since = kNow - ms;
  engine(index).facts_at = engine(index).last_heard = kNow - 5;
  facts(index).last_io_seconds = ms / 1000;
  return *this;
}

World& World::Ack(int index, MonoMs when, std::int64_t offset) {
  seen.memory.fenced[Uid(index)] = {facts(index).run_id, when, offset, engine(index).control_token};
  return *this;
}

World& World::Vanish(int index) {
  at(index).pod.reset();
  return *this;
}

World& World::Unrecorded() {
  seen.group.has_record = false;
  record() = model::NodeGroupRecord{};
  seen.primary_slice = seen.reader_slice = model::SliceView{};
  for (Member& member : seen.members) {
    const int index = std::stoi(Short(member.name));
    Fence(index);
    facts(index).keys = facts(index).offset = 0;
    facts(index).repl_id = "own-" + std::to_string(index);
    member.pod->role_label.clear();
  }
  return *this;
}

World& World::InTransition(int from, int to) {
  record().epoch = 4;
  record().primary = model::PrimaryRef{Uid(to), NameOf(to), Run(to), pod(to).container_id,
                                       pod(to).ip, pod(to).node};
  record().write_guard = false;
  record().in_sync.clear();
  if (!record().lineage.empty()) record().lineage.back().up_to = 100;
  model::Transition transition;
  transition.id = "0001-4";
  if (from > 0) {
    transition.from_uid = Uid(from);
    transition.from_name = NameOf(from);
    record().suspects = {Uid(from)};
  }
  transition.to_uid = Uid(to);
  transition.to_name = NameOf(to);
  transition.reason = from > 0 ? "PrimaryProcessDied" : "FirstPrimary";
  transition.stage = model::Stage::kPromoting;
  transition.started_wall_ms = kWallNow - 300;
  record().transition = transition;
  return *this;
}

Lines EffectsOf(const model::Plan& plan) {
  Lines lines;
  for (const model::Effect& effect : plan.effects) {
    lines.push_back(std::visit(EffectText{}, effect));
  }
  return lines;
}
Lines EffectsOf(const World& world) { return EffectsOf(world.Make()); }

std::string RecordOf(const model::Plan& plan) {
  if (!plan.record) return "-";
  const model::NodeGroupRecord& record = *plan.record;
  std::string text = "e" + std::to_string(record.epoch);
  text += " primary=" + (record.primary ? Short(record.primary->name) : "none");
  text += std::string(" guard=") + (record.write_guard ? "on" : "off") + " inSync=";
  std::vector<std::string> uids;
  for (const model::MemberRef& ref : record.in_sync) uids.push_back(ref.uid);
  text += Joint(uids) + " members=" + Joint(record.members);
  text += " suspects=" + Joint(record.suspects) + " lineage=";
  for (std::size_t i = 0; i < record.lineage.size(); ++i) {
    text += (i == 0 ? "" : ",") + record.lineage[i].repl_id;
    if (record.lineage[i].up_to >= 0) text += "@" + std::to_string(record.lineage[i].up_to);
  }
  if (record.transition) {
    text += " transition=" + Short(record.transition->from_name) + ">" +
            Short(record.transition->to_name) + ":" + record.transition->reason;
    if (record.transition->stage == model::Stage::kSwitching) text += " switching";
    if (record.transition->stage == model::Stage::kReturning) text += " returning";
  }
  return text;
}
std::string RecordOf(const World& world) { return RecordOf(world.Make()); }

std::string ConditionOf(const model::Plan& plan, const std::string& type) {
  for (const model::Condition& condition : plan.view.conditions) {
    if (condition.type != type) continue;
    const auto status = condition.status;
    return std::string(status == model::ConditionStatus::kTrue    ? "True "
                       : status == model::ConditionStatus::kFalse ? "False "
                                                                  : "Unknown ") +
           condition.reason + ": " + condition.message;
  }
  return "none";
}

std::string Joined(const Lines& lines) {
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : "; ") + line;
  return text;
}

void Check(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    SCOPED_TRACE(std::string("row: ") + row.name);
    World world(row.members);
    row.given(world);
    const model::Plan plan = world.Make();
    EXPECT_EQ(Joined(EffectsOf(plan)), Joined(row.effects));
    if (!row.record.empty()) {
      EXPECT_EQ(RecordOf(plan), row.record);
    }
  }
}

}  // namespace regroup::plan::testing
