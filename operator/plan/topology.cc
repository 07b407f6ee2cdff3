#include "operator/plan/topology.h"

#include <algorithm>
#include <set>

#include "operator/plan/fault_kind.h"

namespace regroup::plan {

using model::Member;
using model::Observed;

namespace {

constexpr std::int64_t kFreshAnswerMs = 1500;
constexpr std::int64_t kRemovalMs = 2000;  // after the primary's answer that a removal rests on

bool CrashLoops(const Member& member) {
  return member.pod->waiting_reason == "CrashLoopBackOff";
}

// With a volume the name carries the data, so a member on its way out is waited for while its node
// can still report.
bool NameComesBack(const Context& context, const Member& member) {
  return context.spec().storage && member.pod->deleting && NodeIsReady(context.seen, member);
}

// Its object was deleted by force, and its process is not proven dead: two of them on one volume
// would ruin its data.
bool MayStillRun(const Context& context, const Member& member) {
  return context.spec().storage && LastPod(member) != nullptr &&
         !NobodyRuns(context.seen, member);
}

// With volumes the recorded primary's name comes first, and comes back even where the group is as
// large as wanted: nobody else may hold its data.
bool HoldsTheData(const Context& context, const std::string& name) {
  return context.spec().storage && context.record().primary &&
         (!context.record().transition || context.volume_awaited) &&
         context.record().primary->name == name;
}

// Zones with at least one node that takes members; a zone that lost its nodes is waited for.
std::vector<std::string> OpenZones(const Observed& seen) {
  std::set<std::string> zones;
  for (const model::NodeView& node : seen.nodes) {
    if (node.zone.empty()) continue;
    if (node.ready && node.schedulable) zones.insert(node.zone);
    const auto lost = seen.memory.node_lost_since.find(node.zone);
    const std::int64_t wait = std::int64_t{1000} * seen.group.spec.placement.zone_wait_seconds;
    if (lost != seen.memory.node_lost_since.end() && seen.now - lost->second < wait) {
      zones.insert(node.zone);
    }
  }
  return {zones.begin(), zones.end()};
}

void Replace(Context& context, const Member& member, const std::string& reason) {
  context.Do(model::DeleteMember{member.name, member.uid, member.pod->resource_version, -1,
                                 reason});
  context.Say("replace " + member.name + ": " + reason);
}

// Rule one-group: data of another group, such as an earlier one of the same name, is never mounted.
bool ForeignVolume(Context& context, const std::string& member_name) {
  if (!context.spec().storage || !context.options.one_group) return false;
  for (const model::VolumeView& volume : context.seen.volumes) {
    if (!volume.foreign || volume.member_name != member_name) continue;
    context.Block("ForeignVolume",
                  "The volume claim " + volume.name + " belongs to an earlier group of this name; "
                  "delete it, or take its data out first and then delete it.", true);
    return true;
  }
  return false;
}

// The volume that a member of this name would mount; nullptr: a new one would be made for it.
const model::VolumeView* VolumeOf(const Observed& seen, const std::string& member_name) {
  if (!seen.group.spec.storage) return nullptr;
  for (const model::VolumeView& volume : seen.volumes) {
    if (volume.member_name == member_name && volume.bound && !volume.deleting) return &volume;
  }
  return nullptr;
}

// A volume stays in its zone, often on its node: whoever is to mount it must go there. Where the
// node that it was made for is gone, only Kubernetes' scheduler knows where it can be mounted.
std::string ZoneOfVolume(const Observed& seen, const model::VolumeView& volume) {
  for (const model::NodeView& node : seen.nodes) {
    if (node.name == volume.node) return node.zone;
  }
  return "";
}

std::string ZoneFor(const Observed& seen, const std::string& member_name,
                    const std::vector<std::string>& taken) {
  const model::VolumeView* volume = VolumeOf(seen, member_name);
  return volume == nullptr ? ChooseZone(seen, taken) : ZoneOfVolume(seen, *volume);
}

// Its volume cannot be mounted: its zone lost its nodes, or no node took a member that waited.
bool VolumeIsOutOfReach(const Observed& seen, const std::string& member_name) {
  const model::VolumeView* volume = VolumeOf(seen, member_name);
  if (volume == nullptr) return false;
  if (seen.memory.no_node_took.count(member_name) > 0) return true;
  const std::string zone = ZoneOfVolume(seen, *volume);
  if (zone.empty()) return false;
  const std::vector<std::string> open = OpenZones(seen);
  return std::find(open.begin(), open.end(), zone) == open.end();
}

// The lowest free names; with volumes first that of the recorded primary, and none of a replica
// whose volume is out of reach: a new member elsewhere restores the number of copies.
std::vector<std::string> FreeNames(const Context& context, const std::set<std::string>& taken) {
  std::vector<std::string> free;
  const auto& granted = context.record().primary;
  if (context.spec().storage && granted && taken.count(granted->name) == 0) {
    free.push_back(granted->name);
  }
  for (int index = 1; index < 1000; ++index) {
    const std::string name = model::MemberName(context.seen.group.meta, index);
    const bool first = !free.empty() && free.front() == name;
    if (taken.count(name) == 0 && !first && !VolumeIsOutOfReach(context.seen, name)) {
      free.push_back(name);
    }
    if (static_cast<int>(free.size()) >= context.spec().members()) break;
  }
  return free;
}

bool IsPrimary(const Context& context, const Member& member) {
  return context.record().primary && context.record().primary->uid == member.uid;
}

// The last holder of the data is never removed: the primary must have all that this fenced member
// has, whose offset stands still, and must have answered since: it may have died unnoticed.
bool MayHoldMore(const Context& context, const Member& leaving) {
  if (!Answers(leaving) || leaving.engine.facts->keys == 0) return false;
  const Member* primary = context.seen.FindMember(context.record().primary->uid);
  if (primary == nullptr || !primary->engine.facts) return true;
  if (primary->engine.facts_at < leaving.engine.fenced_since) return true;
  const model::EngineFacts& head = *primary->engine.facts;
  const std::string& history = leaving.engine.facts->repl_id;
  // Offsets of two histories cannot be compared: it restarted with its volume, for example.
  if (history != head.repl_id && history != head.repl_id2) return head.keys == 0;
  return head.offset < leaving.engine.facts->offset;
}

int Usefulness(const Context& context, const Member& member) {
  if (!Answers(member)) return 0;
  return InSyncRecorded(context.record(), member) ? 2 : 1;
}

}  // namespace

std::vector<const Member*> LivePods(const Observed& seen) {
  std::vector<const Member*> live;
  for (const Member& member : seen.members) {
    if (member.pod && !member.pod->deleting && !member.pod->failed) live.push_back(&member);
  }
  return live;
}

bool NoNodeTook(const Observed& seen, const Member& member) {
  return member.pod->unschedulable && !member.pod->scheduled &&
         seen.now - member.pod->first_seen >
             std::int64_t{1000} * seen.group.spec.placement.zone_wait_seconds;
}

std::string ChooseZone(const Observed& seen, const std::vector<std::string>& taken) {
  const std::vector<std::string> zones = OpenZones(seen);
  const auto& preferred = seen.group.spec.preferred_cache_cluster_azs;
  auto rank = [&](const std::string& zone) {
    const auto found = std::find(preferred.begin(), preferred.end(), zone);
    return found - preferred.begin();
  };
  std::string best;
  std::int64_t best_mates = -1;
  for (const std::string& zone : zones) {
    // ElastiCache's list names a zone for each member; a repeated name asks for more of them there.
    std::int64_t mates = std::count(taken.begin(), taken.end(), zone);
    if (!seen.group.spec.multi_az_enabled) {
      mates -= std::max<std::int64_t>(std::count(preferred.begin(), preferred.end(), zone) - 1, 0);
    }
    if (best_mates < 0 || mates < best_mates ||
        (mates == best_mates && rank(zone) < rank(best))) {
      best = zone;
      best_mates = mates;
    }
  }
  return best;
}

void PlanCreation(Context& context) {
  std::set<std::string> names(context.seen.taken_names.begin(), context.seen.taken_names.end());
  std::vector<std::string> taken;
  int live = 0;
  for (const Member& member : context.seen.members) {
    if (!member.pod) {
      if (!MayStillRun(context, member)) continue;
      names.insert(member.name);
      if (NodeIsReady(context.seen, member)) ++live;  // its kubelet ends it, and then it comes back
      continue;
    }
    names.insert(member.name);
    if (member.pod->deleting) {
      if (NameComesBack(context, member)) ++live;
      continue;
    }
    if (member.pod->failed) {
      Replace(context, member, "its pod ended and will not run again");
      continue;
    }
    if (CrashLoops(member) && !IsPrimary(context, member)) {
      Replace(context, member, "its container is in CrashLoopBackOff");
      continue;
    }
    if (CrashLoops(member) && !Answers(member) && !context.spec().storage) {
      Replace(context, member, "the failed primary is in CrashLoopBackOff");
      continue;
    }
    if (NoNodeTook(context.seen, member) && !HoldsTheData(context, member.name)) {
      Replace(context, member, "no node took it in its zone");
      continue;
    }
    ++live;
    taken.push_back(member.pod->zone);
  }
  if (!context.seen.resolve_error.empty()) return;
  for (const std::string& name : FreeNames(context, names)) {
    if (live >= context.spec().members() && !HoldsTheData(context, name)) break;
    if (ForeignVolume(context, name)) return;
    const std::string zone = ZoneFor(context.seen, name, taken);
    context.Do(model::CreateMember{name, zone, "the group has " + std::to_string(live) + " of " +
                                                   std::to_string(context.spec().members())});
    context.Say("create " + name + (zone.empty() ? "" : " in " + zone));
    taken.push_back(zone);
    ++live;
  }
}

void PickLeaving(Context& context, const Member& primary) {
  const std::vector<const Member*> live = LivePods(context.seen);
  if (static_cast<int>(live.size()) <= context.spec().members()) return;
  const std::int64_t quiet_ms = context.seen.now - primary.engine.last_heard;
  if (context.record().transition) return;
  if (context.options.removal && quiet_ms > kFreshAnswerMs) return;
  const Member* least = nullptr;
  for (const Member* member : live) {
    if (IsPrimary(context, *member)) continue;
    const int useful = Usefulness(context, *member);
    if (least == nullptr || useful < Usefulness(context, *least) ||
        (useful == Usefulness(context, *least) && member->name > least->name)) {
      least = member;
    }
  }
  if (least != nullptr) context.leaving_uid = least->uid;
}

void PlanRemoval(Context& context, const Member& primary) {
  const Member* leaving = context.seen.FindMember(context.leaving_uid);
  if (context.leaving_uid.empty() || leaving == nullptr) return;
  const bool let_go = !InSyncRecorded(context.record(), *leaving);
  if (context.options.removal && !let_go) return;  // the record lets go of it first
  if (Answers(*leaving) && !leaving->engine.facts->fenced()) {
    model::EngineEffect fence;
    fence.uid = leaving->uid;
    fence.run_id = RunOf(*leaving);
    fence.change = model::EngineChange::kFence;
    fence.reason = "the group has one member too many";
    context.Do(fence);
    context.LookAgain(20);
    return;
  }
  if (context.options.removal && MayHoldMore(context, *leaving)) {
    context.Watch(model::Attention::kSuspect);
    context.LookAgain(50);
    return;
  }
  model::DeleteMember removal{leaving->name, leaving->uid, leaving->pod->resource_version, -1,
                              "the group has one member too many"};
  // A leader that stands still in its round would remove the last holder of a primary that died.
  if (context.options.removal) removal.not_after = primary.engine.last_heard + kRemovalMs;
  context.Do(removal);
  context.Say("remove " + leaving->name);
}

}  // namespace regroup::plan
