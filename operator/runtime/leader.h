// Leader election on a Lease: 5 s lease, 3 s renew deadline, 1 s retry (design 4). What to do next
// is a pure step; the driver performs it and guarantees that work has stopped at the deadline even
// when the API server does not answer. Losing the lease means back to standby, not a restart.
// Thread: Run() blocks its caller; the callbacks run on threads of this object, never two at once.
// Source: notes on controller semantics A6; clocks are CLOCK_BOOTTIME through base/clock.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string>
#include <utility>

#include "operator/base/clock.h"
#include "operator/kube/lease.h"

namespace regroup::runtime {

struct LeaderOptions {
  std::string namespace_name;
  std::string lease_name;
  std::string identity;
  std::int64_t lease_ms = 5000;
  std::int64_t renew_deadline_ms = 3000;
  std::int64_t retry_ms = 1000;
};

// What is known of the Lease, by our own clock: expiry is counted from when we saw it change.
struct LeaderState {
  bool known = false;
  kube::LeaseRecord record;
  MonoMs seen_at = 0;
};

enum class LeaseMove { kCreate, kTake, kRenew, kWait };

void Observe(LeaderState& state, const kube::LeaseRecord& record, MonoMs now);
LeaseMove NextMove(const LeaderState& state, const LeaderOptions& options, MonoMs now);

// What the driver has to do with the Lease next; the answer goes to OnAnswer.
struct LeaseAsk {
  enum class Call { kNone, kRead, kCreate, kReplace };
  Call call = Call::kNone;
  kube::LeaseRecord record;  // to be written
};

// The pure part: one attempt is Begin() and then OnAnswer() until nothing is left to ask. Knows no
// thread, clock or API; times are passed in. Leading ends by Expire(), which the driver calls often
// enough, or in OnAnswer().
class Election {
 public:
  explicit Election(LeaderOptions options) : options_(std::move(options)) {}

  LeaseAsk Begin(MonoMs now, WallMs wall_now);
  LeaseAsk OnAnswer(const Result<kube::LeaseRecord>& answer, MonoMs now, WallMs wall_now);
  bool Expire(MonoMs now);  // true: leading has just ended
  // Stops leading; the record to write so that the other one need not wait.
  LeaseAsk Release(WallMs wall_now);
  void Pause(MonoMs until) { pause_until_ = until; }

  bool leading() const { return leading_; }
  const std::string& reason() const { return reason_; }  // why leading ended last
  // True once for each time that the Lease was read at a lower version than before: the API
  // server's store was set back to an older state.
  bool TakeRewound() { return std::exchange(rewound_, false); }
  const LeaderOptions& options() const { return options_; }

 private:
  LeaseAsk Next(MonoMs now, WallMs wall_now);
  LeaseAsk OnRead(const Result<kube::LeaseRecord>& answer, MonoMs now, WallMs wall_now);
  LeaseAsk OnWritten(const Result<kube::LeaseRecord>& answer, MonoMs now);
  void See(const kube::LeaseRecord& record, MonoMs now);
  void Stop(std::string reason);

  const LeaderOptions options_;
  LeaderState state_;
  LeaseAsk::Call asked_ = LeaseAsk::Call::kNone;
  bool last_read_ = false;  // the read under way only looks: the attempt ends with it
  MonoMs sent_at_ = 0;
  MonoMs valid_until_ = 0;
  MonoMs pause_until_ = 0;
  bool leading_ = false;
  bool rewound_ = false;
  std::string reason_;
};

// Performs one ask, with a deadline below the retry time.
Result<kube::LeaseRecord> Call(kube::Api& api, const LeaderOptions& options, const LeaseAsk& ask);

class LeaderElector {
 public:
  // on_stopped returns only when all work has stopped. on_rewound may be empty.
  LeaderElector(kube::Api& api, const Clock& clock, LeaderOptions options,
                std::function<void()> on_started, std::function<void()> on_stopped,
                std::function<void()> on_rewound = {});
  // Until stop; an orderly stop gives the lease away at once.
  void Run(std::stop_token stop);
  bool IsLeader() const { return leading_; }
  // Gives the lease away and does not take it back for `pause_ms`.
  void StepDown(std::int64_t pause_ms);

 private:
  void Try();
  void Settle();
  void Release();

  kube::Api& api_;
  const Clock& clock_;
  std::function<void()> on_started_;
  std::function<void()> on_stopped_;
  std::function<void()> on_rewound_;
  std::mutex election_mutex_;  // short: never held over a call or a callback
  Election election_;
  std::atomic<bool> leading_{false};
  std::atomic<bool> step_down_{false};
  std::mutex change_;  // held while a callback runs
};

}  // namespace regroup::runtime
