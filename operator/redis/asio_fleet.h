// The Fleet port over real connections. For each member: one watching connection (INFO by the
// group's pace), one idle connection whose end is evidence (rule proof a), and a control connection
// when a change is to be made.
// Thread: the io_context is run by one thread that the caller owns and joins after Stop(); the
// port's methods may be called from any other thread. Lifetime: outlives every caller; Stop()
// first.
#pragma once

#include <memory>

#include <asio.hpp>

#include "operator/base/clock.h"
#include "operator/redis/fleet.h"

namespace regroup::redis {

class AsioFleet final : public Fleet {
 public:
  AsioFleet(asio::io_context& io, const Clock& clock, WakeFn wake, std::uint64_t seed);
  ~AsioFleet() override;
  // Closes every connection and refuses further work; call on any thread before joining the io one.
  void Stop();

  void SetTargets(const std::string& group, const Credentials& credentials,
                  const std::vector<Target>& targets) override;
  void SetPace(const std::string& group, Pace pace) override;
  void Poke(const std::string& group) override;
  std::map<std::string, MemberFacts> Facts(const std::string& group) const override;
  std::vector<Result<Session>> Prepare(const std::string& group,
                                       const std::vector<std::string>& uids,
                                       std::int64_t timeout_ms) override;
  std::vector<Result<CommandReply>> Execute(const std::string& group,
                                            const std::vector<Command>& commands,
                                            std::int64_t timeout_ms) override;
  void DropControl() override;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace regroup::redis
