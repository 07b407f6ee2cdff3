#include "operator/runtime/controller.h"

#include <algorithm>

namespace regroup::runtime {

Controller::Controller(WorkQueue& queue, const Clock& clock, int workers, ReconcileFn reconcile)
    : queue_(queue), clock_(clock), workers_(workers), reconcile_(std::move(reconcile)),
      begun_(static_cast<std::size_t>(workers)) {}

Controller::~Controller() { Stop(); }

void Controller::Start() {
  if (!threads_.empty()) return;
  for (int i = 0; i < workers_; ++i) {
    threads_.emplace_back([this, i](std::stop_token stop) { Work(i, stop); });
  }
}

void Controller::Stop() {
  for (std::jthread& thread : threads_) thread.request_stop();
  for (std::jthread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
  threads_.clear();
}

std::int64_t Controller::LongestPassMs() const {
  std::int64_t longest_ms = 0;
  for (const std::atomic<MonoMs>& begun : begun_) {
    const MonoMs since = begun;
    if (since > 0) longest_ms = std::max(longest_ms, clock_.Now() - since);
  }
  return longest_ms;
}

void Controller::Work(int worker, const std::stop_token& stop) {
  std::atomic<MonoMs>& begun = begun_[static_cast<std::size_t>(worker)];
  while (std::optional<std::string> key = queue_.Take(stop)) {
    begun = clock_.Now();
    const Outcome outcome = reconcile_(*key, stop);
    begun = 0;
    if (!outcome.ok) {
      queue_.AddBackoff(*key);
    } else {
      queue_.Forget(*key);
      const Priority next = outcome.urgent ? Priority::kUrgent : Priority::kNormal;
      if (outcome.requeue_ms == 0) queue_.Add(*key, next);
      else if (outcome.requeue_ms > 0) queue_.AddAfter(*key, outcome.requeue_ms);
    }
    queue_.Done(*key);
  }
}

}  // namespace regroup::runtime
