#include "operator/runtime/leader.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <thread>

#include "operator/base/log.h"

namespace regroup::runtime {

namespace {

constexpr std::int64_t kWatchdogMs = 50;

void Nap(const std::stop_token& stop, std::int64_t ms) {
  std::mutex mutex;
  std::condition_variable_any nap;
  std::unique_lock lock(mutex);
  nap.wait_for(lock, stop, std::chrono::milliseconds(ms), [] { return false; });
}

}  // namespace

void Observe(LeaderState& state, const kube::LeaseRecord& record, MonoMs now) {
  if (!state.known || state.record.resource_version != record.resource_version) {
    state.seen_at = now;
  }
  state.known = true;
  state.record = record;
}

LeaseMove NextMove(const LeaderState& state, const LeaderOptions& options, MonoMs now) {
  if (!state.known) return LeaseMove::kCreate;
  if (state.record.holder == options.identity) return LeaseMove::kRenew;
  if (state.record.holder.empty()) return LeaseMove::kTake;
  const std::int64_t held_ms = std::max<std::int64_t>(
      options.lease_ms, std::int64_t{1000} * state.record.duration_seconds);
  return now - state.seen_at >= held_ms ? LeaseMove::kTake : LeaseMove::kWait;
}

void Election::See(const kube::LeaseRecord& record, MonoMs now) {
  const auto number = [](const std::string& version) {
    return std::strtoll(version.c_str(), nullptr, 10);
  };
  if (number(record.resource_version) < number(state_.record.resource_version)) rewound_ = true;
  Observe(state_, record, now);
}

void Election::Stop(std::string reason) {
  if (!leading_) return;
  leading_ = false;
  reason_ = std::move(reason);
}

bool Election::Expire(MonoMs now) {
  if (!leading_ || now <= valid_until_) return false;
  Stop("the lease could not be renewed in time");
  return true;
}

LeaseAsk Election::Begin(MonoMs now, WallMs wall_now) {
  last_read_ = false;
  if (leading_ && NextMove(state_, options_, now) == LeaseMove::kRenew) return Next(now, wall_now);
  asked_ = LeaseAsk::Call::kRead;
  return {asked_, {}};
}

LeaseAsk Election::Next(MonoMs now, WallMs wall_now) {
  const LeaseMove move = NextMove(state_, options_, now);
  asked_ = LeaseAsk::Call::kNone;
  if (move == LeaseMove::kWait || now < pause_until_) return {};
  kube::LeaseRecord record = state_.record;
  record.duration_seconds = static_cast<int>(options_.lease_ms / 1000);
  record.renew_wall_ms = wall_now;
  if (move != LeaseMove::kRenew || !leading_) {
    record.acquire_wall_ms = record.renew_wall_ms;
    if (move == LeaseMove::kTake) ++record.transitions;
  }
  record.holder = options_.identity;
  sent_at_ = now;
  asked_ = move == LeaseMove::kCreate ? LeaseAsk::Call::kCreate : LeaseAsk::Call::kReplace;
  return {asked_, record};
}

LeaseAsk Election::OnAnswer(const Result<kube::LeaseRecord>& answer, MonoMs now,
                            WallMs wall_now) {
  const LeaseAsk::Call asked = std::exchange(asked_, LeaseAsk::Call::kNone);
  if (asked == LeaseAsk::Call::kRead) return OnRead(answer, now, wall_now);
  if (asked != LeaseAsk::Call::kNone) return OnWritten(answer, now);
  return {};
}

LeaseAsk Election::OnRead(const Result<kube::LeaseRecord>& answer, MonoMs now, WallMs wall_now) {
  if (answer) {
    See(*answer, now);
    if (answer->holder != options_.identity) Stop("the lease was taken");
  } else if (answer.error().code == ErrorCode::kNotFound) {
    state_ = LeaderState{};
  } else {
    return {};
  }
  return last_read_ ? LeaseAsk{} : Next(now, wall_now);
}

LeaseAsk Election::OnWritten(const Result<kube::LeaseRecord>& answer, MonoMs now) {
  if (answer) {
    See(*answer, now);
    valid_until_ = sent_at_ + options_.renew_deadline_ms;
    // An answer that came after the deadline (this process was stopped) gives nothing: somebody
    // else may lead by now.
    if (now <= valid_until_) leading_ = true;
    return {};
  }
  if (answer.error().code == ErrorCode::kConflict) Stop("the lease was taken");
  // Somebody else wrote, or the answer is lost: read before the next attempt.
  last_read_ = true;
  asked_ = LeaseAsk::Call::kRead;
  return {asked_, {}};
}

LeaseAsk Election::Release(WallMs wall_now) {
  if (!leading_) return {};
  Stop("released");
  kube::LeaseRecord record = state_.record;
  record.holder.clear();
  record.duration_seconds = 1;
  record.renew_wall_ms = wall_now;
  return {LeaseAsk::Call::kReplace, record};
}

Result<kube::LeaseRecord> Call(kube::Api& api, const LeaderOptions& options, const LeaseAsk& ask) {
  const std::int64_t timeout_ms = options.retry_ms - 100;
  switch (ask.call) {
    case LeaseAsk::Call::kCreate:
      return kube::CreateLease(api, options.namespace_name, options.lease_name, ask.record,
                               timeout_ms);
    case LeaseAsk::Call::kReplace:
      return kube::ReplaceLease(api, options.namespace_name, options.lease_name, ask.record,
                                timeout_ms);
    case LeaseAsk::Call::kRead:
    case LeaseAsk::Call::kNone: break;
  }
  return kube::ReadLease(api, options.namespace_name, options.lease_name, timeout_ms);
}

LeaderElector::LeaderElector(kube::Api& api, const Clock& clock, LeaderOptions options,
                             std::function<void()> on_started, std::function<void()> on_stopped,
                             std::function<void()> on_rewound)
    : api_(api), clock_(clock), on_started_(std::move(on_started)),
      on_stopped_(std::move(on_stopped)), on_rewound_(std::move(on_rewound)),
      election_(std::move(options)) {}

// Makes what the election says true, one change at a time.
void LeaderElector::Settle() {
  std::lock_guard change(change_);
  std::string reason;
  bool leads = false;
  bool rewound = false;
  {
    std::lock_guard lock(election_mutex_);
    leads = election_.leading();
    reason = election_.reason();
    rewound = election_.TakeRewound();
  }
  if (rewound && on_rewound_) on_rewound_();
  if (leads == leading_) return;
  leading_ = leads;
  const std::string& identity = election_.options().identity;
  if (leads) {
    Log(LogLevel::kInfo, "leading", {{"identity", identity}});
    on_started_();
  } else {
    on_stopped_();
    Log(LogLevel::kWarn, "standby", {{"identity", identity}, {"reason", reason}});
  }
}

void LeaderElector::Try() {
  const auto locked = [this](const auto& step) {
    std::lock_guard lock(election_mutex_);
    return step();
  };
  LeaseAsk ask = locked([&] { return election_.Begin(clock_.Now(), clock_.WallNow()); });
  while (ask.call != LeaseAsk::Call::kNone) {
    const Result<kube::LeaseRecord> answer = Call(api_, election_.options(), ask);
    ask = locked([&] { return election_.OnAnswer(answer, clock_.Now(), clock_.WallNow()); });
    Settle();
  }
}

void LeaderElector::Release() {
  LeaseAsk ask;
  {
    std::lock_guard lock(election_mutex_);
    ask = election_.Release(clock_.WallNow());
  }
  Settle();  // work has stopped before the lease is free
  if (ask.call != LeaseAsk::Call::kNone) (void)Call(api_, election_.options(), ask);
}

void LeaderElector::StepDown(std::int64_t pause_ms) {
  std::lock_guard lock(election_mutex_);
  election_.Pause(clock_.Now() + pause_ms);
  step_down_ = true;
}

void LeaderElector::Run(std::stop_token stop) {
  // The API may hang for longer than we may lead: a second thread keeps the deadline.
  std::jthread watchdog([this](const std::stop_token& done) {
    while (!done.stop_requested()) {
      bool expired = false;
      {
        std::lock_guard lock(election_mutex_);
        expired = election_.Expire(clock_.Now());
      }
      if (expired) Settle();
      Nap(done, kWatchdogMs);
    }
  });
  while (!stop.stop_requested()) {
    if (step_down_.exchange(false)) Release();
    const MonoMs begin = clock_.Now();
    Try();
    Nap(stop, std::max<std::int64_t>(election_.options().retry_ms - (clock_.Now() - begin), 50));
  }
  watchdog.request_stop();
  watchdog.join();
  Release();
}

}  // namespace regroup::runtime
