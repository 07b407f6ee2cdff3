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

class LeaderElector {
 public:
  // on_stopped returns only when all work has stopped.
  LeaderElector(kube::Api& api, const Clock& clock, LeaderOptions options,
                std::function<void()> on_started, std::function<void()> on_stopped);
  // Until stop; an orderly stop gives the lease away at once.
  void Run(std::stop_token stop);
  bool IsLeader() const { return leading_; }
  // Gives the lease away and does not take it back for `pause_ms`.
  void StepDown(std::int64_t pause_ms);

 private:
  void Try();
  bool Write(LeaseMove move);
  void Gain();
  void Lose(const char* why);
  void Release();

  kube::Api& api_;
  const Clock& clock_;
  const LeaderOptions options_;
  std::function<void()> on_started_;
  std::function<void()> on_stopped_;
  LeaderState state_;
  std::atomic<bool> leading_{false};
  std::atomic<MonoMs> valid_until_{0};
  std::atomic<MonoMs> pause_until_{0};
  std::atomic<bool> step_down_{false};
  std::mutex change_;
};

}  // namespace regroup::runtime
