// All connections to one member, and the facts that they yield. Internal to redis/.
// Thread: the Asio thread, the only one that changes the facts; whoever else reads them locks them.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "operator/redis/connection.h"
#include "operator/redis/fleet.h"
#include "operator/redis/pace.h"

namespace regroup::redis {

// What is known of a member: written by its link, read by workers.
struct FactsSlot {
  std::mutex mutex;
  MemberFacts facts;
};

// One for all members of a group.
using SharedCredentials = std::shared_ptr<const Credentials>;

class MemberLink : public std::enable_shared_from_this<MemberLink> {
 public:
  struct Hooks {
    std::shared_ptr<FactsSlot> slot;
    std::function<void(bool urgent)> wake;
    std::shared_ptr<FastMembers> fast;  // of the whole fleet
  };
  using SessionFn = std::function<void(Result<Session>)>;
  using CommandFn = std::function<void(Result<CommandReply>)>;

  MemberLink(asio::io_context& io, const Clock& clock, Target target,
             SharedCredentials credentials, Pace pace, Hooks hooks);

  void Start();
  void Stop();
  void SetPace(Pace pace);
  void Poke();
  void Prepare(std::int64_t timeout_ms, SessionFn done);
  void Execute(const Command& command, std::int64_t timeout_ms, CommandFn done);
  void DropControl();

  const Target& target() const { return target_; }

 private:
  void OpenWatch();
  void OpenIdle();
  void OnWatchEnded(Ended how);
  void OnIdleEnded(Ended how);
  void Schedule(std::int64_t delay_ms);
  void Tick();
  void Ask();
  void CheckOverdue();
  void CountPace(bool in);
  void OnInfoReply(Result<std::vector<Reply>> replies);
  // Answers what `change` answers, which gets the facts.
  template <typename F>
  auto Change(F change) {
    std::lock_guard lock(hooks_.slot->mutex);
    return change(hooks_.slot->facts);
  }
  const MemberFacts& facts() const { return hooks_.slot->facts; }
  void Tell(const Wake& wake);
  void ForgetControl();
  ConnectionOptions OptionsFor(bool control, std::int64_t timeout_ms) const;
  void ExecuteAlone(const std::vector<std::string>& words, std::int64_t timeout_ms,
                    CommandFn done);
  void FinishPrepare(const std::shared_ptr<Connection>& control, std::uint64_t token,
                     const SessionFn& done, Result<std::vector<Reply>> replies);

  asio::io_context& io_;
  const Clock& clock_;
  Target target_;
  SharedCredentials credentials_;
  Pace pace_;
  Hooks hooks_;
  asio::steady_timer timer_;
  asio::steady_timer overdue_timer_;
  std::shared_ptr<Connection> watch_;
  std::shared_ptr<Connection> idle_;
  std::shared_ptr<Connection> control_;
  std::uint64_t control_token_ = 0;
  std::string control_run_id_;
  MonoMs asked_at_ = 0;
  bool overdue_told_ = false;
  int failures_ = 0;
  bool stopped_ = false;
};

}  // namespace regroup::redis
