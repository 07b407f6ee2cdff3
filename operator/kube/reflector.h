// Keeps one resource type's objects in step with the API server: WatchList where the server has it,
// else a paged LIST and a watch; bookmarks, 410, 429, back-off with jitter, an idle limit. What to
// do next is a pure step; Run() only performs it.
// Thread: Run() blocks the caller's thread until it is stopped, and calls the sink there, in order.
// Source: notes on controller semantics A1.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "operator/base/rng.h"
#include "operator/kube/api.h"
#include "operator/kube/listed.h"

namespace regroup::kube {

enum class EventType { kAdded, kModified, kDeleted };

struct ReflectorSink {
  // The whole set, atomically; then single changes in order.
  std::function<void(const Listed& objects, const std::string& resource_version)> on_replace;
  std::function<void(EventType type, Json object)> on_event;
  std::function<void()> on_restart;  // a watch ended otherwise than cleanly
};

// The pure part: what one line of a watch means.
struct WatchState {
  bool use_watch_list = true;   // until the server refuses it
  bool initial = true;          // initial events are being collected
  Listed collected;
  std::string resource_version;
  int failures = 0;
};

struct LineOutcome {
  bool replace = false;              // hand `collected` over
  bool event = false;
  EventType type = EventType::kAdded;
  Json object;
  std::optional<Error> failed;       // an ERROR event: end this watch
};

LineOutcome OnWatchLine(WatchState& state, const std::string& line);

// After a watch or list ended: how long to wait, and whether to begin from nothing.
struct Restart {
  std::int64_t wait_ms = 0;
  bool relist = false;
};
Restart OnWatchEnd(WatchState& state, const std::optional<Error>& error, double jitter);

class Reflector {
 public:
  Reflector(Api& api, WatchApi& watch, const Clock& clock, std::uint64_t seed, ResourceType type,
            ListOptions selector, ReflectorSink sink);
  ~Reflector();
  void Run(std::stop_token stop);
  bool Synced() const { return synced_; }

 private:
  struct Queue;
  std::optional<Error> ListPages(const std::stop_token& stop);
  std::optional<Error> WatchOnce(const std::stop_token& stop);
  void Take(const std::string& line, std::optional<Error>& failed);

  Api& api_;
  WatchApi& watch_;
  const Clock& clock_;
  Rng rng_;
  const ResourceType type_;
  const ListOptions selector_;
  ReflectorSink sink_;
  WatchState state_;
  std::atomic<bool> synced_{false};
};

}  // namespace regroup::kube
