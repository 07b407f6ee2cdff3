// redis::Fleet over the simulated network, one for each operator process. Facts are tracked by the
// production code (redis/track.h) at the production pace (redis/pace.h); only the sockets are fake.
// Thread: one. Lifetime: may be destroyed at any time (a crashed operator): late events check
// `alive_`.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "operator/redis/fleet.h"
#include "operator/redis/track.h"
#include "tests/sim/fake_engine.h"

namespace regroup::sim {

struct FleetFaults {
  double lost_reply = 0;   // executed, but the answer never comes
  double late = 0;         // given up by the caller, executed later from the engine's buffer
  double reset = 0;        // the end of a connection arrives as RST, which proves nothing
  std::int64_t late_ms_max = 4000;
};

class FakeFleet final : public redis::Fleet, public EngineObserver {
 public:
  FakeFleet(Engines* engines, std::string host, const FleetFaults* faults, redis::WakeFn wake);

  void SetTargets(const std::string& group, const redis::Credentials& credentials,
                  const std::vector<redis::Target>& targets) override;
  void SetPace(const std::string& group, redis::Pace pace) override;
  void Poke(const std::string& group) override;
  std::map<std::string, redis::MemberFacts> Facts(const std::string& group) const override;
  std::vector<Result<redis::Session>> Prepare(const std::string& group,
                                              const std::vector<std::string>& uids,
                                              std::int64_t timeout_ms) override;
  std::vector<Result<redis::CommandReply>> Execute(const std::string& group,
                                                   const std::vector<redis::Command>& commands,
                                                   std::int64_t timeout_ms) override;
  void DropControl() override;

  void OnFullSync(const Engine&, int, const Engine&) override {}
  void OnPromoted(const Engine&) override {}
  void OnDeath(const Engine& engine) override;

  // The process is gone: nothing of it runs any more. The engine's ends of its connections stay.
  void Crash() { *alive_ = false; }
  // The process is stopped: it asks nothing and hears nothing before that time.
  void SleepUntil(MonoMs at) { awake_at_ = at; }
  // Virtual time that the calls since the last question have taken.
  std::int64_t TakeCost();

 private:
  struct Control {
    Engine* engine = nullptr;
    std::uint64_t connection = 0;
    std::uint64_t token = 0;
  };
  struct Watched {
    std::string group;
    redis::Target target;
    redis::MemberFacts facts;
    std::uint64_t generation = 0;
    Engine* watched = nullptr;     // the process at the other end of the idle connection
    MonoMs asked_at = 0;           // of the oldest question without an answer; 0: none
    bool polling = false;
    int failures = 0;
    std::optional<Control> control;
  };

  World& world() const { return engines_->world(); }
  bool Reaches(const Watched& member, const Engine& engine) const;
  Watched* Find(const std::string& group, const std::string& uid);
  void SchedulePoll(const std::string& key, std::uint64_t generation, std::int64_t delay_ms);
  void Poll(const std::string& key, std::uint64_t generation);
  void Ask(const std::string& key, Watched& member);
  void Answered(Watched& member, const redis::Info& info);
  void Unanswered(const std::string& key, Watched& member, redis::Reach reach);
  void TurnedAway(Watched& member, redis::Ended how);
  void Tell(const std::string& group, redis::Wake wake);
  Result<redis::Session> PrepareOne(Watched& member, std::int64_t timeout_ms);
  Result<redis::CommandReply> ExecuteOne(const std::string& group, const redis::Command& command,
                                         std::int64_t timeout_ms);
  Result<redis::CommandReply> Unknown(Watched& member, std::int64_t timeout_ms);
  std::string HostOf(const Watched& member) const;

  Engines* engines_;
  std::string host_;
  const FleetFaults* faults_;
  redis::WakeFn wake_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::map<std::string, Watched> members_;  // "group|uid"
  std::map<std::string, redis::Pace> pace_;
  std::uint64_t generation_ = 0;
  std::uint64_t token_ = 0;
  std::int64_t cost_ms_ = 0;
  MonoMs awake_at_ = 0;
};

}  // namespace regroup::sim
