#include "operator/runtime/work_queue.h"

#include <algorithm>

namespace regroup::runtime {

namespace {

constexpr std::int64_t kBackoffFirstMs = 50;
constexpr std::int64_t kBackoffMaxMs = 5'000;

}  // namespace

void WorkQueueCore::Add(const std::string& key, Priority priority) {
  const bool known = !dirty_.insert(key).second;
  const bool raised = priority == Priority::kUrgent && urgent_.insert(key).second;
  if (processing_.count(key) > 0) return;  // Done() puts it back
  if (known && raised) {
    std::erase(queue_, key);
    urgent_queue_.push_back(key);
  } else if (!known) {
    Enqueue(key);
  }
}

void WorkQueueCore::Enqueue(const std::string& key) {
  (urgent_.count(key) > 0 ? urgent_queue_ : queue_).push_back(key);
}

void WorkQueueCore::AddAt(const std::string& key, MonoMs at) {
  const auto found = delayed_.find(key);
  if (found != delayed_.end() && at >= found->second) return;
  Undelay(key);
  delayed_[key] = at;
  due_.insert({at, key});
}

void WorkQueueCore::Undelay(const std::string& key) {
  const auto found = delayed_.find(key);
  if (found == delayed_.end()) return;
  due_.erase({found->second, key});
  delayed_.erase(found);
}

void WorkQueueCore::AddBackoff(const std::string& key, MonoMs now) {
  const int failures = std::min(failures_[key]++, 10);
  const std::int64_t base = std::min(kBackoffFirstMs << failures, kBackoffMaxMs);
  AddAt(key, now + base / 2 +
                 static_cast<std::int64_t>(rng_.Below(static_cast<std::uint64_t>(base))));
}

void WorkQueueCore::Forget(const std::string& key) { failures_.erase(key); }

std::optional<std::string> WorkQueueCore::Take(MonoMs now) {
  while (!due_.empty() && due_.begin()->first <= now) {
    const std::string due = due_.begin()->second;
    Undelay(due);
    Add(due, Priority::kNormal);
  }
  std::deque<std::string>& from = urgent_queue_.empty() ? queue_ : urgent_queue_;
  if (from.empty()) return std::nullopt;
  std::string key = std::move(from.front());
  from.pop_front();
  dirty_.erase(key);
  urgent_.erase(key);
  // This pass sees everything up to now, so an older wish for a look is fulfilled by it.
  Undelay(key);
  processing_.insert(key);
  return key;
}

void WorkQueueCore::Done(const std::string& key) {
  processing_.erase(key);
  if (dirty_.count(key) > 0) Enqueue(key);
}

void WorkQueueCore::Finish(const std::string& key, const Outcome& outcome, MonoMs now) {
  if (!outcome.ok) {
    AddBackoff(key, now);
  } else {
    Forget(key);
    const Priority next = outcome.urgent ? Priority::kUrgent : Priority::kNormal;
    if (outcome.requeue_ms == 0) Add(key, next);
    else if (outcome.requeue_ms > 0) AddAt(key, now + outcome.requeue_ms);
  }
  Done(key);
}

MonoMs WorkQueueCore::NextDue() const {
  return due_.empty() ? -1 : due_.begin()->first;
}

void WorkQueue::Add(const std::string& key, Priority priority) {
  std::lock_guard lock(mutex_);
  core_.Add(key, priority);
  ready_.notify_one();
}

void WorkQueue::AddAfter(const std::string& key, std::int64_t delay_ms) {
  std::lock_guard lock(mutex_);
  core_.AddAt(key, clock_.Now() + delay_ms);
  ready_.notify_one();
}

std::optional<std::string> WorkQueue::Take(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    const MonoMs now = clock_.Now();
    if (std::optional<std::string> key = core_.Take(now)) return key;
    const MonoMs due = core_.NextDue();
    const std::int64_t wait_ms = due < 0 ? 60'000 : std::max<std::int64_t>(due - now, 0);
    ready_.wait_for(lock, stop, std::chrono::milliseconds(wait_ms),
                    [&] { return core_.Depth() > 0 || core_.NextDue() != due; });
  }
  return std::nullopt;
}

void WorkQueue::Finish(const std::string& key, const Outcome& outcome) {
  std::lock_guard lock(mutex_);
  core_.Finish(key, outcome, clock_.Now());
  ready_.notify_one();
}

bool WorkQueue::HasPending(const std::string& key) const {
  std::lock_guard lock(mutex_);
  return core_.HasPending(key);
}

bool WorkQueue::HasUrgent(const std::string& key) const {
  std::lock_guard lock(mutex_);
  return core_.HasUrgent(key);
}

bool WorkQueue::UrgentWaits() const {
  std::lock_guard lock(mutex_);
  return core_.UrgentWaits();
}

std::size_t WorkQueue::Depth() const {
  std::lock_guard lock(mutex_);
  return core_.Depth();
}

}  // namespace regroup::runtime
