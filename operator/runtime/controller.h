// N workers that take keys and reconcile them, one worker a key at a time.
// Thread: Start and Stop from one thread. Stop returns when every worker has stopped; a reconcile
// function ends its pass soon after its stop_token asks it to.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "operator/runtime/work_queue.h"

namespace regroup::runtime {

struct Outcome {
  bool ok = true;                // false: again after a growing back-off
  std::int64_t requeue_ms = -1;  // 0: at once; -1: only when woken
  bool urgent = false;           // at once means before all that is not urgent
};

class Controller {
 public:
  using ReconcileFn = std::function<Outcome(const std::string& key, std::stop_token stop)>;

  Controller(WorkQueue& queue, const Clock& clock, int workers, ReconcileFn reconcile);
  ~Controller();
  void Start();
  void Stop();
  // How long the longest pass under way has lasted; 0: none is. Any thread.
  std::int64_t LongestPassMs() const;

 private:
  void Work(int worker, const std::stop_token& stop);

  WorkQueue& queue_;
  const Clock& clock_;
  const int workers_;
  ReconcileFn reconcile_;
  std::vector<std::jthread> threads_;
  std::vector<std::atomic<MonoMs>> begun_;  // by worker; 0: it waits for a key
};

}  // namespace regroup::runtime
