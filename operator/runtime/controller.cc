#include "operator/runtime/controller.h"

namespace regroup::runtime {

Controller::Controller(WorkQueue& queue, int workers, ReconcileFn reconcile)
    : queue_(queue), workers_(workers), reconcile_(std::move(reconcile)) {}

Controller::~Controller() { Stop(); }

void Controller::Start() {
  if (!threads_.empty()) return;
  for (int i = 0; i < workers_; ++i) {
    threads_.emplace_back([this](std::stop_token stop) { Work(stop); });
  }
}

void Controller::Stop() {
  for (std::jthread& thread : threads_) thread.request_stop();
  for (std::jthread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
  threads_.clear();
}

void Controller::Work(const std::stop_token& stop) {
  while (std::optional<std::string> key = queue_.Take(stop)) {
    const Outcome outcome = reconcile_(*key, stop);
    if (!outcome.ok) {
      queue_.AddBackoff(*key);
    } else {
      queue_.Forget(*key);
      if (outcome.requeue_ms == 0) queue_.Add(*key);
      else if (outcome.requeue_ms > 0) queue_.AddAfter(*key, outcome.requeue_ms);
    }
    queue_.Done(*key);
  }
}

}  // namespace regroup::runtime
