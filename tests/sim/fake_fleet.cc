#include "tests/sim/fake_fleet.h"

#include <algorithm>

#include "operator/redis/pace.h"

namespace regroup::sim {

FakeFleet::FakeFleet(Engines* engines, std::string host, const FleetFaults* faults,
                     redis::WakeFn wake)
    : engines_(engines), host_(std::move(host)), faults_(faults), wake_(std::move(wake)) {}

void FakeFleet::SetTargets(const std::string& group, const redis::Credentials&,
                           const std::vector<redis::Target>& targets) {
  for (auto it = members_.begin(); it != members_.end();) {
    const bool stays =
        it->second.group != group ||
        std::find(targets.begin(), targets.end(), it->second.target) != targets.end();
    it = stays ? std::next(it) : members_.erase(it);
  }
  for (const redis::Target& target : targets) {
    const std::string key = group + "|" + target.uid;
    if (members_.count(key) > 0) continue;
    Watched member;
    member.group = group;
    member.target = target;
    member.generation = ++generation_;
    SchedulePoll(key, member.generation, world().Between(0, 5));
    members_.emplace(key, std::move(member));
  }
}

void FakeFleet::SetPace(const std::string& group, redis::Pace pace) {
  const auto it = pace_.find(group);
  const redis::Pace before = it == pace_.end() ? redis::Pace::kRest : it->second;
  pace_[group] = pace;
  if (pace > before) Poke(group);
}

void FakeFleet::Poke(const std::string& group) {
  for (auto& [key, member] : members_) {
    if (member.group != group) continue;
    member.generation = ++generation_;  // replaces the poll that was planned
    SchedulePoll(key, member.generation, 0);
  }
}

std::map<std::string, redis::MemberFacts> FakeFleet::Facts(const std::string& group) const {
  std::map<std::string, redis::MemberFacts> facts;
  for (const auto& [key, member] : members_) {
    if (member.group != group) continue;
    redis::MemberFacts& known = facts[member.target.uid] = member.facts;
    const auto& control = member.control;
    const bool live = control && control->engine->HasControl(control->connection);
    known.control_token = live ? control->token : 0;
  }
  return facts;
}

void FakeFleet::DropControl() {
  for (auto& [key, member] : members_) {
    if (member.control) member.control->engine->CloseControl(member.control->connection);
    member.control.reset();
  }
}

std::int64_t FakeFleet::TakeCost() { return std::exchange(cost_ms_, 0); }

FakeFleet::Watched* FakeFleet::Find(const std::string& group, const std::string& uid) {
  const auto it = members_.find(group + "|" + uid);
  return it == members_.end() ? nullptr : &it->second;
}

std::string FakeFleet::HostOf(const Watched& member) const {
  return engines_->HostAt(member.target.address);
}

bool FakeFleet::Reaches(const Watched&, const Engine& engine) const {
  return engines_->network().BothWays(host_, engine.node());
}

void FakeFleet::Tell(const std::string& group, redis::Wake wake) {
  if (wake.wake) wake_(group, wake.urgent);
}

// ---------------------------------------------------------------- watching

void FakeFleet::SchedulePoll(const std::string& key, std::uint64_t generation,
                             std::int64_t delay_ms) {
  world().After(delay_ms, [this, alive = alive_, key, generation] {
    if (*alive) Poll(key, generation);
  });
}

void FakeFleet::Poll(const std::string& key, std::uint64_t generation) {
  const auto it = members_.find(key);
  if (it == members_.end() || it->second.generation != generation) return;
  if (world().Now() < awake_at_) {
    return SchedulePoll(key, generation, awake_at_ - world().Now());
  }
  Watched& member = it->second;
  Ask(key, member);
  const redis::Pace pace = pace_[member.group];
  // One group is all that there is, so no budget is ever shared.
  const std::int64_t next =
      member.failures > 0
          ? redis::ReconnectDelayMs(pace, member.failures)
          : redis::UntilAskedMs(pace, world().Now(),
                                std::hash<std::string>()(member.target.uid), {});
  SchedulePoll(key, generation, std::max<std::int64_t>(next, 20));
}

void FakeFleet::TurnedAway(Watched& member, redis::Ended how) {
  member.watched = nullptr;
  member.asked_at = 0;
  ++member.failures;
  Tell(member.group, redis::OnConnectFailed(member.facts, how, world().Now()));
}

void FakeFleet::Ask(const std::string& key, Watched& member) {
  Engine* engine = engines_->Alive(member.target.address, member.target.port);
  const std::string host = HostOf(member);
  const bool passes = host.empty() || engines_->network().BothWays(host_, host);
  if (!passes || !engines_->AddressUp(member.target.address)) {
    return Unanswered(key, member, redis::Reach::kUnreachable);
  }
  if (engine == nullptr) {
    // Data sent on a connection that the dead process left behind is answered by a reset, which
    // OnDeath has told already or, after a cut, is no evidence.
    return TurnedAway(member, redis::Ended::kRefused);
  }
  if (engine->busy()) {  // as MemberLink::OnInfoReply takes an error
    member.facts.busy = true;
    member.facts.last_heard = world().Now();
    member.asked_at = 0;
    member.failures = 0;
    return;
  }
  if (engine->frozen()) {
    // It went on for a while since it was asked, and its answer was there before we woke.
    const bool spoke = member.watched == engine && member.asked_at > 0 &&
                       engine->frozen_since() > member.asked_at;
    if (!spoke) return Unanswered(key, member, redis::Reach::kSilent);
    return Answered(member, engine->Info());
  }
  if (engine->stranger()) return TurnedAway(member, redis::Ended::kDenied);
  member.watched = engine;
  const redis::Info info = engine->Info();
  const std::int64_t delay = world().Chance(0.02) ? world().Between(5, 120) : world().Between(0, 3);
  const std::string address = member.target.address;
  world().After(delay, [this, alive = alive_, key, info, engine, address] {
    const auto it = *alive ? members_.find(key) : members_.end();
    if (!*alive || it == members_.end() || it->second.target.address != address) return;
    if (!Reaches(it->second, *engine) || it->second.watched != engine) return;
    Answered(it->second, info);
  });
}

void FakeFleet::Answered(Watched& member, const redis::Info& info) {
  member.asked_at = 0;
  member.failures = 0;
  Tell(member.group, redis::OnInfo(member.facts, info, world().Now()));
}

void FakeFleet::Unanswered(const std::string&, Watched& member, redis::Reach reach) {
  if (member.asked_at == 0) member.asked_at = world().Now();
  const bool hangs = reach == redis::Reach::kSilent;
  const std::int64_t limit_ms = hangs ? redis::kSilentMs : redis::kUnackedGoneMs;
  const bool late = world().Now() - member.asked_at >= limit_ms;
  if (late) Tell(member.group, redis::OnReach(member.facts, reach, world().Now()));
  if (!late) ++member.failures;  // look again soon: the verdict needs that time
}

void FakeFleet::OnDeath(const Engine& engine) {
  if (!*alive_) return;
  for (auto& [key, member] : members_) {
    if (member.watched != &engine) continue;
    const bool heard = Reaches(member, engine);
    member.watched = nullptr;
    if (!heard) continue;  // nothing arrives; after the heal only a reset would
    const redis::Ended how =
        world().Chance(faults_->reset) ? redis::Ended::kReset : redis::Ended::kFin;
    const std::string run_id = engine.run_id();
    const std::int64_t asleep_ms = std::max<std::int64_t>(awake_at_ - world().Now(), 0);
    const std::int64_t delay_ms = asleep_ms + world().Between(0, 4);
    world().After(delay_ms, [this, alive = alive_, key = key, how, run_id] {
      const auto it = *alive ? members_.find(key) : members_.end();
      if (!*alive || it == members_.end()) return;
      Watched& watched = it->second;
      if (!watched.facts.info || watched.facts.info->run_id != run_id) return;
      Tell(watched.group, redis::OnIdleEnded(watched.facts, how, world().Now()));
      watched.generation = ++generation_;  // reconnect at once
      SchedulePoll(key, watched.generation, 1);
    });
  }
}

// ---------------------------------------------------------------- commands

std::vector<Result<redis::Session>> FakeFleet::Prepare(const std::string& group,
                                                       const std::vector<std::string>& uids,
                                                       std::int64_t timeout_ms) {
  std::vector<Result<redis::Session>> sessions;
  for (const std::string& uid : uids) {
    Watched* member = Find(group, uid);
    if (member == nullptr) {
      sessions.push_back(Fail(ErrorCode::kNotFound, "no such target"));
    } else {
      sessions.push_back(PrepareOne(*member, timeout_ms));
    }
  }
  cost_ms_ += world().Between(0, 3);
  return sessions;
}

Result<redis::Session> FakeFleet::PrepareOne(Watched& member, std::int64_t timeout_ms) {
  Engine* engine = engines_->Alive(member.target.address, member.target.port);
  const std::string host = HostOf(member);
  if (member.control) {
    const Control& control = *member.control;
    const bool open = control.engine->alive() && control.engine->HasControl(control.connection);
    // Whether the other end is gone is heard a little later than it happens.
    if (open || world().Chance(0.1)) return redis::Session{member.target.uid, control.token};
    member.control.reset();
  }
  const bool passes = host.empty() || engines_->network().BothWays(host_, host);
  const bool up = engines_->AddressUp(member.target.address);
  if (!passes || !up || (engine != nullptr && engine->frozen() && !engine->busy())) {
    cost_ms_ = std::max(cost_ms_, timeout_ms);
    return Fail(ErrorCode::kDeadlineExceeded, "no answer from the engine");
  }
  if (engine == nullptr) return Fail(ErrorCode::kUnavailable, "connection refused");
  if (engine->stranger()) return Fail(ErrorCode::kForbidden, "it refuses our password");
  member.control = Control{engine, engine->OpenControl(), ++token_};
  return redis::Session{member.target.uid, member.control->token};
}

std::vector<Result<redis::CommandReply>> FakeFleet::Execute(
    const std::string& group, const std::vector<redis::Command>& commands,
    std::int64_t timeout_ms) {
  std::vector<Result<redis::CommandReply>> replies;
  for (const redis::Command& command : commands) {
    replies.push_back(ExecuteOne(group, command, timeout_ms));
  }
  cost_ms_ += world().Between(0, 5);
  return replies;
}

Result<redis::CommandReply> FakeFleet::Unknown(Watched& member, std::int64_t timeout_ms) {
  cost_ms_ = std::max(cost_ms_, timeout_ms);
  member.control.reset();
  return Fail(ErrorCode::kDeadlineExceeded, "no answer from the engine in time");
}

Result<redis::CommandReply> FakeFleet::ExecuteOne(const std::string& group,
                                                  const redis::Command& command,
                                                  std::int64_t timeout_ms) {
  Watched* member = Find(group, command.session.uid);
  if (member == nullptr || !member->control || member->control->token != command.session.token) {
    return Fail(ErrorCode::kConflict, "the session is not the one that was meant");
  }
  const Control control = *member->control;
  Engine* engine = control.engine;
  if (!command.expected_run_id.empty() && command.expected_run_id != engine->run_id()) {
    return Fail(ErrorCode::kConflict, "another process answers at that address");
  }
  if (engine->busy() && !command.alone) {  // a busy engine names no run: it is sent nothing else
    member->control.reset();
    return Fail(ErrorCode::kConflict, "another process answers at that address");
  }
  if (!engine->alive() || !engine->HasControl(control.connection)) {
    member->control.reset();
    return Fail(ErrorCode::kUnavailable, "the connection is closed");
  }
  Network& network = engines_->network();
  if (!network.Passes(host_, engine->node())) {
    // Our side gives up; its kernel goes on sending for a while, so it may arrive after a heal.
    engine->Buffer(control.connection, host_, command.transaction, world().Between(200, 9000));
    return Unknown(*member, timeout_ms);
  }
  const bool stopped = engine->frozen() && !engine->busy();
  if (stopped || world().Chance(faults_->late)) {
    engine->Buffer(control.connection, host_, command.transaction,
                   world().Between(1, faults_->late_ms_max));
    return Unknown(*member, timeout_ms);
  }
  redis::CommandReply reply;
  if (command.alone) {  // SHUTDOWN: its answer is the end of the connection
    engine->Kill();
    member->control.reset();
    reply.replies = {"the connection ended"};
    reply.answered_at = world().Now();
    return reply;
  }
  reply.replies = engine->Transaction(control.connection, command.transaction);
  reply.answered_at = world().Now();
  reply.token = member->control->token;
  if (!network.Passes(engine->node(), host_) || world().Chance(faults_->lost_reply)) {
    return Unknown(*member, timeout_ms);
  }
  return reply;
}

}  // namespace regroup::sim
