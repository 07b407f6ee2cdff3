#include "operator/plan/candidate.h"

#include <tuple>

#include "operator/plan/context.h"

namespace regroup::plan {

using model::Member;
using model::Observed;

namespace {

constexpr std::int64_t kStaleLinkMs = 10'000;

// How many other live members share its zone: fewer is better after the promotion.
int ZoneMates(const Observed& seen, const Member& member, const std::string& exclude_uid) {
  int mates = 0;
  for (const Member& other : seen.members) {
    if (other.uid == member.uid || other.uid == exclude_uid || !other.pod || !member.pod) continue;
    if (!other.pod->deleting && other.pod->zone == member.pod->zone) ++mates;
  }
  return mates;
}

std::string Refusal(const Observed& seen, const model::PlanOptions& options, const Member& member,
                    const std::string& exclude_uid) {
  if (!Answers(member)) return "does not answer";
  const model::EngineFacts& facts = *member.engine.facts;
  if (Deleting(member)) return "is being deleted";
  if (facts.loading) return "is loading its data";
  if (facts.sync_in_progress) return "is in the middle of a full sync";
  if (facts.is_primary) return "is a writer that was never granted";
  if (!options.candidate) return "";
  if (!InSyncRecorded(seen.group.record, member)) return "was not in sync";
  if (!InLineage(seen.group.record, facts)) return "holds another history";
  const Member* old_primary = seen.FindMember(exclude_uid);
  const MonoMs broke = member.engine.link_down_since;
  if (old_primary != nullptr && broke > 0 && !facts.fenced() &&
      broke < old_primary->engine.last_heard - kStaleLinkMs) {
    return "lost its link long before the primary went quiet";
  }
  return "";
}

struct Rank {
  bool newest;
  std::int64_t offset;
  int fewer_mates;
  std::string name;
  bool Beats(const Rank& other) const {
    return std::tie(other.newest, other.offset, other.fewer_mates, name) <
           std::tie(newest, offset, fewer_mates, other.name);
  }
};

Rank RankOf(const Observed& seen, const Member& member, const std::string& exclude_uid) {
  Rank rank{false, OffsetOf(seen, member), -ZoneMates(seen, member, exclude_uid), member.name};
  InLineage(seen.group.record, *member.engine.facts, &rank.newest);
  return rank;
}

}  // namespace

bool InLineage(const model::NodeGroupRecord& record, const model::EngineFacts& facts,
               bool* newest) {
  for (std::size_t i = record.lineage.size(); i-- > 0;) {
    const model::Lineage& entry = record.lineage[i];
    if (entry.repl_id.empty() || entry.repl_id != facts.repl_id) continue;
    if (entry.up_to >= 0 && facts.offset > entry.up_to) return false;
    if (newest != nullptr) *newest = i + 1 == record.lineage.size();
    return true;
  }
  return false;
}

std::int64_t OffsetOf(const Observed& seen, const Member& member) {
  const auto ack = seen.memory.fenced.find(member.uid);
  std::int64_t offset = member.engine.facts ? member.engine.facts->offset : 0;
  if (ack != seen.memory.fenced.end() && ack->second.run_id == RunOf(member) &&
      ack->second.offset > offset) {
    offset = ack->second.offset;
  }
  return offset;
}

Choice ChooseCandidate(const Observed& seen, const model::PlanOptions& options,
                       const std::string& exclude_uid, const FitsFn& fits) {
  Choice choice;
  Rank best;
  for (const Member& member : seen.members) {
    if (member.uid == exclude_uid || (fits && !fits(member))) continue;
    const std::string refusal = Refusal(seen, options, member, exclude_uid);
    if (!refusal.empty()) {
      choice.why_not += (choice.why_not.empty() ? "" : "; ") + member.name + " " + refusal;
      continue;
    }
    const Rank rank = RankOf(seen, member, exclude_uid);
    if (choice.member == nullptr || rank.Beats(best)) {
      choice.member = &member;
      choice.offset = rank.offset;
      best = rank;
    }
  }
  return choice;
}

Choice ChooseHolder(const Observed& seen, const std::string& exclude_uid) {
  Choice choice;
  Rank best;
  for (const Member& member : seen.members) {
    if (member.uid == exclude_uid || !Answers(member) || Deleting(member)) continue;
    const model::EngineFacts& facts = *member.engine.facts;
    if (facts.loading || facts.sync_in_progress || facts.is_primary) continue;
    if (!InLineage(seen.group.record, facts)) continue;
    const Rank rank = RankOf(seen, member, exclude_uid);
    if (choice.member == nullptr || rank.Beats(best)) {
      choice.member = &member;
      choice.offset = rank.offset;
      best = rank;
    }
  }
  return choice;
}

const Member* FirstMember(const Observed& seen, bool silent_only) {
  const auto& zones = seen.group.spec.preferred_cache_cluster_azs;
  const auto preferred = [&](const Member& member) {
    return !zones.empty() && member.pod->zone == zones.front();
  };
  const Member* best = nullptr;
  for (const Member& member : seen.members) {
    if (!Answers(member) || Deleting(member)) continue;
    if (silent_only && member.engine.facts->is_primary) continue;
    if (best == nullptr || std::make_tuple(!preferred(member), member.name) <
                               std::make_tuple(!preferred(*best), best->name)) {
      best = &member;
    }
  }
  return best;
}

}  // namespace regroup::plan
