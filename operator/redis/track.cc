#include "operator/redis/track.h"

namespace regroup::redis {

namespace {

bool Fenced(const Info& info) {
  return !info.is_primary && info.primary_host == "127.0.0.1" && info.primary_port == 1;
}

bool Late(const InfoReplica& replica) { return replica.lag_seconds > 1; }

void TrackLate(MemberFacts& facts, const Info& info, MonoMs now) {
  std::map<std::string, MonoMs> late;
  for (const InfoReplica& replica : info.replicas) {
    if (!Late(replica)) continue;
    const auto known = facts.late_since.find(replica.address);
    late[replica.address] = known == facts.late_since.end() ? now : known->second;
  }
  facts.late_since = std::move(late);
}

bool SameReplicas(const Info& a, const Info& b) {
  if (a.replicas.size() != b.replicas.size()) return false;
  for (std::size_t i = 0; i < a.replicas.size(); ++i) {
    const InfoReplica& x = a.replicas[i];
    const InfoReplica& y = b.replicas[i];
    if (x.address != y.address || x.online != y.online || Late(x) != Late(y)) return false;
  }
  return true;
}

Wake Difference(const Info& was, const Info& is) {
  Wake wake;
  wake.urgent = was.run_id != is.run_id || was.is_primary != is.is_primary ||
                (was.link_up && !is.link_up) || !SameReplicas(was, is);
  wake.wake = wake.urgent || was.repl_id != is.repl_id || was.link_up != is.link_up ||
              was.primary_host != is.primary_host || was.primary_port != is.primary_port ||
              was.guard_on != is.guard_on || was.loading != is.loading ||
              was.sync_in_progress != is.sync_in_progress || was.disk_failed != is.disk_failed;
  return wake;
}

}  // namespace

Wake OnReach(MemberFacts& facts, Reach reach, MonoMs now) {
  if (facts.reach == reach) return {};
  // Silent at first sight is as bad as silent now: an operator that has just started has many
  // groups to look at, and this one comes first.
  const bool worse = facts.reach == Reach::kAnswering ||
                     (facts.reach == Reach::kUnknown && reach != Reach::kAnswering);
  facts.reach_was = facts.reach;
  facts.reach = reach;
  facts.reach_since = now;
  return {true, worse};
}

Wake OnInfo(MemberFacts& facts, const Info& info, MonoMs now) {
  Wake wake = OnReach(facts, Reach::kAnswering, now);
  const bool same_run = facts.info && facts.info->run_id == info.run_id;
  if (!facts.info) {
    wake = {true, Fenced(info)};  // started again while nobody looked, or new
  } else {
    const Wake difference = Difference(*facts.info, info);
    wake.wake = wake.wake || difference.wake;
    wake.urgent = wake.urgent || difference.urgent;
  }
  if (!same_run || facts.info->read_offset != info.read_offset) facts.offset_still_since = now;
  if (!Fenced(info)) facts.fenced_since = 0;
  else if (facts.fenced_since == 0 || !same_run) facts.fenced_since = now;
  if (info.is_primary || info.link_up) facts.link_down_since = 0;
  else if (facts.link_down_since == 0 || !same_run) facts.link_down_since = now;
  if (!same_run) facts.late_since.clear();
  TrackLate(facts, info, now);
  facts.info = info;
  facts.info_at = now;
  facts.last_heard = now;
  facts.busy = false;
  return wake;
}

Wake OnIdleEnded(MemberFacts& facts, Ended how, MonoMs now) {
  if (how == Ended::kFin && facts.info) {
    facts.fin_run_id = facts.info->run_id;
    facts.fin_at = now;
    facts.refused_at = 0;
  }
  return {true, true};
}

Wake OnConnectFailed(MemberFacts& facts, Ended how, MonoMs now) {
  if (how == Ended::kRefused) {
    const bool news = facts.fin_at > 0 && facts.refused_at == 0;
    if (news) facts.refused_at = now;
    Wake wake = OnReach(facts, Reach::kRefused, now);
    return {wake.wake || news, wake.urgent || news};
  }
  if (how == Ended::kDenied) return OnReach(facts, Reach::kDenied, now);
  if (how == Ended::kUnreachable) return OnReach(facts, Reach::kUnreachable, now);
  return {};
}

}  // namespace regroup::redis
