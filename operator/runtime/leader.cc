#include "operator/runtime/leader.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
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

LeaderElector::LeaderElector(kube::Api& api, const Clock& clock, LeaderOptions options,
                             std::function<void()> on_started, std::function<void()> on_stopped)
    : api_(api), clock_(clock), options_(std::move(options)),
      on_started_(std::move(on_started)), on_stopped_(std::move(on_stopped)) {}

void LeaderElector::Gain() {
  std::lock_guard lock(change_);
  if (leading_) return;
  leading_ = true;
  Log(LogLevel::kInfo, "leading", {{"identity", options_.identity}});
  on_started_();
}

void LeaderElector::Lose(const char* why) {
  std::lock_guard lock(change_);
  if (!leading_) return;
  leading_ = false;
  on_stopped_();
  Log(LogLevel::kWarn, "standby", {{"identity", options_.identity}, {"reason", why}});
}

bool LeaderElector::Write(LeaseMove move) {
  const MonoMs sent_at = clock_.Now();
  kube::LeaseRecord record = state_.record;
  record.duration_seconds = static_cast<int>(options_.lease_ms / 1000);
  record.renew_wall_ms = clock_.WallNow();
  if (move != LeaseMove::kRenew || !leading_) {
    record.acquire_wall_ms = record.renew_wall_ms;
    if (move == LeaseMove::kTake) ++record.transitions;
  }
  record.holder = options_.identity;
  const std::int64_t timeout_ms = options_.retry_ms - 100;
  Result<kube::LeaseRecord> written =
      move == LeaseMove::kCreate
          ? kube::CreateLease(api_, options_.namespace_name, options_.lease_name, record,
                              timeout_ms)
          : kube::ReplaceLease(api_, options_.namespace_name, options_.lease_name, record,
                               timeout_ms);
  if (!written) {
    if (written.error().code == ErrorCode::kConflict && leading_) Lose("the lease was taken");
    return false;
  }
  Observe(state_, *written, clock_.Now());
  valid_until_ = sent_at + options_.renew_deadline_ms;
  return true;
}

void LeaderElector::Try() {
  LeaseMove move = NextMove(state_, options_, clock_.Now());
  if (move != LeaseMove::kRenew || !leading_) {
    Result<kube::LeaseRecord> read = kube::ReadLease(
        api_, options_.namespace_name, options_.lease_name, options_.retry_ms - 100);
    if (read) {
      Observe(state_, *read, clock_.Now());
    } else if (read.error().code == ErrorCode::kNotFound) {
      state_ = LeaderState{};
    } else {
      return;
    }
    move = NextMove(state_, options_, clock_.Now());
  }
  if (move == LeaseMove::kWait || clock_.Now() < pause_until_) return;
  if (Write(move)) {
    Gain();
  } else {
    // Somebody else wrote, or the answer is lost: read before the next attempt.
    Result<kube::LeaseRecord> read = kube::ReadLease(
        api_, options_.namespace_name, options_.lease_name, options_.retry_ms - 100);
    if (read) Observe(state_, *read, clock_.Now());
  }
}

void LeaderElector::Release() {
  if (!leading_) return;
  Lose("released");
  kube::LeaseRecord record = state_.record;
  record.holder.clear();
  record.duration_seconds = 1;
  record.renew_wall_ms = clock_.WallNow();
  Result<kube::LeaseRecord> written = kube::ReplaceLease(
      api_, options_.namespace_name, options_.lease_name, record, options_.retry_ms - 100);
  if (written) Observe(state_, *written, clock_.Now());
}

void LeaderElector::StepDown(std::int64_t pause_ms) {
  pause_until_ = clock_.Now() + pause_ms;
  step_down_ = true;
}

void LeaderElector::Run(std::stop_token stop) {
  // The API may hang for longer than we may lead: a second thread keeps the deadline.
  std::jthread watchdog([this](const std::stop_token& done) {
    while (!done.stop_requested()) {
      if (leading_ && clock_.Now() > valid_until_) Lose("the lease could not be renewed in time");
      Nap(done, kWatchdogMs);
    }
  });
  while (!stop.stop_requested()) {
    if (step_down_.exchange(false)) Release();
    const MonoMs begin = clock_.Now();
    Try();
    Nap(stop, std::max<std::int64_t>(options_.retry_ms - (clock_.Now() - begin), 50));
  }
  watchdog.request_stop();
  watchdog.join();
  Release();
}

}  // namespace regroup::runtime
