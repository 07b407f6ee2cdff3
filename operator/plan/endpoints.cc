#include "operator/plan/endpoints.h"

#include <algorithm>

#include "operator/plan/followers.h"

namespace regroup::plan {

using model::Member;
using model::SliceEndpoint;

namespace {

// Where it was to run; of a member that was made while no zone was open, where it does.
std::string ZoneOf(const model::Observed& seen, const model::PodView& pod) {
  if (!pod.zone.empty()) return pod.zone;
  const model::NodeView* node = NodeOf(seen, &pod);
  return node == nullptr ? "" : node->zone;
}

SliceEndpoint EndpointOf(const model::Observed& seen, const Member& member) {
  const model::PodView& pod = *member.pod;
  return {member.uid, member.name, pod.ip, pod.node, ZoneOf(seen, pod)};
}

bool Leads(const model::SliceView& slice, const Member& member) {
  return std::any_of(slice.endpoints.begin(), slice.endpoints.end(),
                     [&](const SliceEndpoint& one) { return one.uid == member.uid; });
}

bool SliceOk(const model::SliceView& slice, std::int64_t epoch,
             const std::vector<SliceEndpoint>& endpoints) {
  return slice.exists && slice.epoch == epoch && slice.endpoints == endpoints;
}

void Write(Context& context, model::SliceKind kind, const model::SliceView& slice,
           std::vector<SliceEndpoint> endpoints) {
  context.Do(model::WriteSlice{kind, context.record().epoch, slice.resource_version,
                               std::move(endpoints)});
}

}  // namespace

bool PlanPrimarySlice(Context& context) {
  const model::SliceView& slice = context.seen.primary_slice;
  if (slice.foreign) {
    context.Block("ForeignObject", "The EndpointSlice of the primary endpoint belongs to somebody "
                  "else; delete it or rename the group.", true);
    return false;
  }
  if (context.options.endpoints && slice.exists && slice.epoch > context.record().epoch) {
    return false;
  }
  const Member* primary = context.seen.FindMember(context.record().primary->uid);
  if (primary == nullptr || !primary->pod || primary->pod->ip.empty()) return false;
  std::vector<SliceEndpoint> wanted{EndpointOf(context.seen, *primary)};
  if (SliceOk(slice, context.record().epoch, wanted)) return false;
  Write(context, model::SliceKind::kPrimary, slice, std::move(wanted));
  context.Say("the primary endpoint moves to " + primary->name);
  return true;
}

void PlanReaderSlice(Context& context) {
  const model::SliceView& slice = context.seen.reader_slice;
  if (slice.foreign) {
    context.Block("ForeignObject", "The EndpointSlice of the reader endpoint belongs to somebody "
                  "else; delete it or rename the group.", true);
    return;
  }
  if (context.options.endpoints && slice.exists && slice.epoch > context.record().epoch) return;
  std::vector<SliceEndpoint> wanted;
  for (const Member& member : context.seen.members) {
    if (Unheard(member) && RefIn(context.next.in_sync, member.uid) != nullptr &&
        Leads(slice, member)) {
      wanted.push_back(EndpointOf(context.seen, member));
      continue;
    }
    if (!Answers(member) || Deleting(member) || member.pod->ip.empty()) continue;
    if (!IsIn(context.next.in_sync, member) || !member.engine.facts->link_up) continue;
    if (StillShedding(context, member)) continue;
    wanted.push_back(EndpointOf(context.seen, member));
  }
  if (wanted.empty()) {
    const Member* primary = context.seen.FindMember(context.record().primary->uid);
    if (primary != nullptr && primary->pod && !primary->pod->ip.empty()) {
      wanted.push_back(EndpointOf(context.seen, *primary));
    }
  }
  std::sort(wanted.begin(), wanted.end(),
            [](const SliceEndpoint& a, const SliceEndpoint& b) { return a.name < b.name; });
  if (SliceOk(slice, context.record().epoch, wanted)) return;
  Write(context, model::SliceKind::kReader, slice, std::move(wanted));
}

}  // namespace regroup::plan
