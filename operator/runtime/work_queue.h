// Keys to work on: each at most once in the queue, never on two workers at a time, woken again
// while it is processed if something changed meanwhile; urgent keys first; delays; back-off by key.
// WorkQueueCore is the pure rule set (time is passed in), WorkQueue its thread-safe wrapper.
// Source: notes on controller semantics A5 (client-go's dirty and processing sets).
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <utility>

#include "operator/base/clock.h"
#include "operator/base/rng.h"

namespace regroup::runtime {

enum class Priority { kNormal, kUrgent };

// How a pass over a key ended.
struct Outcome {
  bool ok = true;                // false: again after a growing back-off
  std::int64_t requeue_ms = -1;  // 0: at once; -1: only when woken
  bool urgent = false;           // at once means before all that is not urgent
};

class WorkQueueCore {
 public:
  explicit WorkQueueCore(std::uint64_t seed) : rng_(seed) {}

  void Add(const std::string& key, Priority priority);
  void AddAt(const std::string& key, MonoMs at);  // the earliest wish wins
  void AddBackoff(const std::string& key, MonoMs now);
  void Forget(const std::string& key);
  // Moves due delayed keys in, then gives the next one.
  std::optional<std::string> Take(MonoMs now);
  void Done(const std::string& key);
  // Done() with what the pass wishes for next.
  void Finish(const std::string& key, const Outcome& outcome, MonoMs now);
  bool HasPending(const std::string& key) const { return dirty_.count(key) > 0; }
  bool HasUrgent(const std::string& key) const { return urgent_.count(key) > 0; }
  bool UrgentWaits() const { return !urgent_queue_.empty(); }
  std::size_t Depth() const { return urgent_queue_.size() + queue_.size(); }
  // When the next delayed key is due; -1: none.
  MonoMs NextDue() const;

 private:
  void Enqueue(const std::string& key);
  void Undelay(const std::string& key);

  Rng rng_;
  std::set<std::string> dirty_;       // wants work
  std::set<std::string> processing_;  // is being worked on
  std::set<std::string> urgent_;      // of the dirty ones
  std::deque<std::string> urgent_queue_;
  std::deque<std::string> queue_;
  std::map<std::string, MonoMs> delayed_;
  std::set<std::pair<MonoMs, std::string>> due_;  // the same, the next one first
  std::map<std::string, int> failures_;
};

class WorkQueue {
 public:
  WorkQueue(const Clock& clock, std::uint64_t seed) : clock_(clock), core_(seed) {}

  void Add(const std::string& key, Priority priority = Priority::kNormal);
  void AddAfter(const std::string& key, std::int64_t delay_ms);
  // Blocks until a key is there; nothing once stop is requested.
  std::optional<std::string> Take(std::stop_token stop);
  void Finish(const std::string& key, const Outcome& outcome);
  bool HasPending(const std::string& key) const;
  bool HasUrgent(const std::string& key) const;
  bool UrgentWaits() const;  // any key that no worker has taken yet
  std::size_t Depth() const;

 private:
  const Clock& clock_;
  mutable std::mutex mutex_;
  std::condition_variable_any ready_;
  WorkQueueCore core_;
};

}  // namespace regroup::runtime
