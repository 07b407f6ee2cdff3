#include "operator/kube/reflector.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

#include "operator/base/log.h"
#include "operator/kube/transport.h"

namespace regroup::kube {

namespace {

constexpr std::int64_t kBackoffFirstMs = 100;
// Two operators with nine watches each: even at this pace an API server that comes back is not
// hurt, and a longer wait would leave the caches blind after an outage.
constexpr std::int64_t kBackoffMaxMs = 2'000;
constexpr std::int64_t kListTimeoutMs = 15'000;
// The server ends a watch after timeoutSeconds and sends bookmarks each minute: longer silence
// means that the connection is dead without a word.
constexpr std::int64_t kIdleLimitMs = 100'000;
constexpr int kPageLimit = 500;
constexpr std::size_t kQueueMax = 20'000;

}  // namespace

struct Reflector::Queue {
  std::mutex mutex;
  std::condition_variable_any ready;
  std::deque<std::string> lines;
  bool ended = false;
  std::optional<Error> error;
};

LineOutcome OnWatchLine(WatchState& state, const std::string& line) {
  LineOutcome outcome;
  Result<Json> parsed = ParseObject(line);
  if (!parsed) return outcome;  // one unreadable object must not end the watch
  const std::string type = Str(Child(*parsed, "type"));
  Json object = Child(*parsed, "object");
  if (type == "ERROR") {
    const int status = static_cast<int>(Int(Child(object, "code"), 500));
    outcome.failed = ErrorOfStatus(status, object.dump(), 0);
    return outcome;
  }
  const std::string version = Str(At(object, {"metadata", "resourceVersion"}));
  if (type == "BOOKMARK") {
    state.resource_version = version;
    const Json& end = At(object, {"metadata", "annotations"});
    if (state.initial && Str(Child(end, "k8s.io/initial-events-end")) == "true") {
      state.initial = false;
      outcome.replace = true;
    }
    return outcome;
  }
  if (!version.empty()) state.resource_version = version;
  if (state.initial) {
    state.collected.Add(object);
    return outcome;
  }
  outcome.event = true;
  outcome.type = type == "DELETED" ? EventType::kDeleted
                 : type == "ADDED" ? EventType::kAdded
                                   : EventType::kModified;
  outcome.object = std::move(object);
  return outcome;
}

Restart OnWatchEnd(WatchState& state, const std::optional<Error>& error, double jitter) {
  Restart restart;
  if (!error) {
    state.failures = 0;
    restart.relist = state.initial;  // ended before the initial set was whole
    restart.wait_ms = restart.relist ? kBackoffFirstMs : 0;
    return restart;
  }
  if (error->code == ErrorCode::kInvalid && state.initial && state.use_watch_list) {
    state.use_watch_list = false;  // an older server: list and watch
    restart.relist = true;
    return restart;
  }
  ++state.failures;
  const int shift = std::min(state.failures - 1, 7);
  const std::int64_t base = std::min(kBackoffFirstMs << shift, kBackoffMaxMs);
  restart.wait_ms = base + static_cast<std::int64_t>(static_cast<double>(base) * jitter);
  restart.wait_ms = std::max(restart.wait_ms, error->retry_after_ms);
  restart.relist = error->code == ErrorCode::kGone || state.initial;
  return restart;
}

Reflector::Reflector(Api& api, WatchApi& watch, const Clock& clock, std::uint64_t seed,
                     ResourceType type, ListOptions selector, ReflectorSink sink)
    : api_(api), watch_(watch), clock_(clock), rng_(seed), type_(std::move(type)),
      selector_(std::move(selector)), sink_(std::move(sink)) {}

Reflector::~Reflector() = default;

std::optional<Error> Reflector::ListPages(const std::stop_token& stop) {
  Listed objects;
  std::string version;
  ListOptions options = selector_;
  options.limit = kPageLimit;
  while (!stop.stop_requested()) {
    Result<Json> page = api_.List(type_, options, kListTimeoutMs);
    if (!page) return page.error();
    version = Str(At(*page, {"metadata", "resourceVersion"}));
    const Json& items = Child(*page, "items");
    if (items.is_array()) {
      for (const Json& item : items) objects.Add(item);
    }
    options.continue_token = Str(At(*page, {"metadata", "continue"}));
    if (options.continue_token.empty()) break;
  }
  state_.resource_version = version;
  state_.initial = false;
  sink_.on_replace(objects, version);
  synced_ = true;
  return std::nullopt;
}

void Reflector::Take(const std::string& line, std::optional<Error>& failed) {
  LineOutcome outcome = OnWatchLine(state_, line);
  if (outcome.failed) {
    failed = outcome.failed;
  } else if (outcome.replace) {
    sink_.on_replace(std::exchange(state_.collected, {}), state_.resource_version);
    synced_ = true;
    state_.failures = 0;
  } else if (outcome.event) {
    sink_.on_event(outcome.type, std::move(outcome.object));
    state_.failures = 0;
  }
}

std::optional<Error> Reflector::WatchOnce(const std::stop_token& stop) {
  WatchOptions options;
  options.namespace_name = selector_.namespace_name;
  options.label_selector = selector_.label_selector;
  options.field_selector = selector_.field_selector;
  options.send_initial_events = state_.initial;
  options.resource_version = state_.initial ? "" : state_.resource_version;
  state_.collected = {};
  auto queue = std::make_shared<Queue>();
  std::unique_ptr<WatchStream> stream = watch_.Watch(
      type_, options,
      [queue](std::string line) {
        std::lock_guard lock(queue->mutex);
        if (queue->lines.size() < kQueueMax) queue->lines.push_back(std::move(line));
        queue->ready.notify_all();
      },
      [queue](std::optional<Error> error) {
        std::lock_guard lock(queue->mutex);
        queue->ended = true;
        queue->error = std::move(error);
        queue->ready.notify_all();
      });
  std::optional<Error> failed;
  while (!stop.stop_requested() && !failed) {
    std::unique_lock lock(queue->mutex);
    const bool woken = queue->ready.wait_for(
        lock, stop, std::chrono::milliseconds(kIdleLimitMs),
        [&] { return !queue->lines.empty() || queue->ended; });
    if (stop.stop_requested()) break;
    if (!woken) return Error{ErrorCode::kDeadlineExceeded, "the watch went silent", 0, 0};
    if (queue->lines.empty()) return queue->error;
    const std::string line = std::move(queue->lines.front());
    queue->lines.pop_front();
    lock.unlock();
    Take(line, failed);
  }
  stream->Cancel();
  return failed;
}

void Reflector::Run(std::stop_token stop) {
  std::mutex mutex;
  std::condition_variable_any nap;
  while (!stop.stop_requested()) {
    std::optional<Error> error;
    if (state_.initial && !state_.use_watch_list) error = ListPages(stop);
    if (!error && !stop.stop_requested()) error = WatchOnce(stop);
    if (stop.stop_requested()) return;
    if (error) {
      Log(LogLevel::kWarn, "watch restarts",
          {{"resource", type_.resource}, {"error", error->message}});
      if (sink_.on_restart) sink_.on_restart();
    }
    const Restart restart = OnWatchEnd(state_, error, rng_.Unit());
    if (restart.relist) state_.initial = true;
    if (restart.wait_ms > 0) {
      std::unique_lock lock(mutex);
      nap.wait_for(lock, stop, std::chrono::milliseconds(restart.wait_ms), [] { return false; });
    }
  }
}

}  // namespace regroup::kube
