// Keeps one resource type's objects in step with the API server: WatchList where the server has it,
// else a paged LIST and a watch; bookmarks, 410, 429, back-off with jitter, an idle limit. What to
// do next is a pure step; Run() only performs it.
// Thread: Run() blocks the caller's thread until it is stopped, and calls the sink there, in order.
// Source: notes on controller semantics A1.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>

#include "operator/base/rng.h"
#include "operator/kube/api.h"
#include "operator/kube/listed.h"

namespace regroup::kube {

enum class EventType { kAdded, kModified, kDeleted };

struct ReflectorSink {
  // The whole set, atomically; then single changes in order.
  std::function<void(ListedSet set)> on_replace;
  std::function<void(EventType type, const Json& object)> on_event;
  // A watch or a list ended otherwise than cleanly.
  std::function<void(const Error& error)> on_restart;
};

// The server ends a watch after timeoutSeconds and sends bookmarks each minute: longer silence
// means that the connection is dead without a word, or that the server's versions are behind ours.
inline constexpr std::int64_t kWatchIdleLimitMs = 100'000;

// The pure part: what to ask for next, and what an answer means. Time is passed in.
struct WatchState {
  bool use_watch_list = true;   // until the server refuses it
  bool initial = true;          // the set is still to come, or is being collected
  ListedSet collected;
  std::string continue_token;   // of a paged list
  std::string resource_version;
  std::int64_t newest_version = 0;  // of all sets and events that were handed over
  int failures = 0;
};

// As if nothing had been seen: the next set is not compared with what was before.
void BeginAnew(WatchState& state);
// True: the set comes by pages (BeginList, OnListPage), and only then by a watch.
bool MustList(const WatchState& state);
void BeginList(WatchState& state, MonoMs now);
ListOptions NextPage(const WatchState& state, const ListOptions& selector);
// True: the last page; `collected` is to be handed over.
bool OnListPage(WatchState& state, const Json& page);

WatchOptions BeginWatch(WatchState& state, const ListOptions& selector, MonoMs now);

struct WatchOutcome {
  bool replace = false;              // hand `collected` over
  bool event = false;                // hand the object over
  EventType type = EventType::kAdded;
  std::optional<Error> failed;       // an ERROR event: end this watch
};
WatchOutcome OnWatchEvent(WatchState& state, const std::string& type, const Object& object);

struct WatchLine {
  std::string type;
  Object object;
};
// Nothing where the line cannot be read: one such object must not end the watch.
std::optional<WatchLine> ParseWatchLine(const std::string& line);

// After a watch or list ended: how long to wait, and whether to begin from nothing.
struct Restart {
  std::int64_t wait_ms = 0;
  bool relist = false;
};
Restart OnWatchEnd(WatchState& state, const std::optional<Error>& error, double jitter);
// What ends a watch that was silent for kWatchIdleLimitMs.
Error Silence();

class Reflector {
 public:
  Reflector(Api& api, WatchApi& watch, const Clock& clock, std::uint64_t seed, ResourceType type,
            ListOptions selector, ReflectorSink sink);
  ~Reflector();
  void Run(std::stop_token stop);
  bool Synced() const { return synced_; }
  // Begins from nothing, as after 410: what was seen may no longer be true. Any thread.
  void Relist();

 private:
  struct Queue;
  std::optional<Error> ListPages(const std::stop_token& stop);
  std::optional<Error> WatchOnce(const std::stop_token& stop);
  std::shared_ptr<Queue> NewQueue();
  static void End(Queue& queue);
  bool RelistAsked();
  void HandOver();
  std::optional<Error> Take(const std::string& line);

  Api& api_;
  WatchApi& watch_;
  const Clock& clock_;
  Rng rng_;
  const ResourceType type_;
  const ListOptions selector_;
  ReflectorSink sink_;
  WatchState state_;
  std::atomic<bool> synced_{false};
  std::mutex queue_mutex_;
  std::shared_ptr<Queue> queue_;  // of the watch under way
  bool relist_ = false;           // guarded by queue_mutex_
};

}  // namespace regroup::kube
