#include "operator/kube/reflector.h"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
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

namespace {

std::int64_t NumberOf(const std::string& version) {
  return std::strtoll(version.c_str(), nullptr, 10);
}

void Close(WatchState& state, const std::string& version) {
  state.initial = false;
  state.failures = 0;
  state.resource_version = version;
  state.collected.resource_version = version;
  const std::int64_t number = NumberOf(version);
  state.collected.rewound = number < state.newest_version;
  state.newest_version = number;
}

void Saw(WatchState& state, const std::string& version) {
  if (version.empty()) return;
  state.resource_version = version;
  state.newest_version = std::max(state.newest_version, NumberOf(version));
}

}  // namespace

void BeginAnew(WatchState& state) {
  state.initial = true;
  state.newest_version = 0;
}

bool MustList(const WatchState& state) { return state.initial && !state.use_watch_list; }

void BeginList(WatchState& state, MonoMs now) {
  state.collected = ListedSet{};
  state.collected.asked_at = now;
  state.continue_token.clear();
}

ListOptions NextPage(const WatchState& state, const ListOptions& selector) {
  ListOptions options = selector;
  options.limit = kPageLimit;
  options.continue_token = state.continue_token;
  return options;
}

bool OnListPage(WatchState& state, const Json& page) {
  const Json& items = Child(page, "items");
  if (items.is_array()) {
    for (const Json& item : items) state.collected.objects.Add(item);
  }
  state.continue_token = Str(At(page, {"metadata", "continue"}));
  if (!state.continue_token.empty()) return false;
  Close(state, Str(At(page, {"metadata", "resourceVersion"})));
  return true;
}

WatchOptions BeginWatch(WatchState& state, const ListOptions& selector, MonoMs now) {
  WatchOptions options;
  options.namespace_name = selector.namespace_name;
  options.label_selector = selector.label_selector;
  options.field_selector = selector.field_selector;
  options.send_initial_events = state.initial;
  options.resource_version = state.initial ? "" : state.resource_version;
  state.collected = ListedSet{};
  state.collected.asked_at = now;
  return options;
}

WatchOutcome OnWatchEvent(WatchState& state, const std::string& type, const Object& object) {
  WatchOutcome outcome;
  if (type == "ERROR") {
    const int status = static_cast<int>(Int(Child(*object, "code"), 500));
    outcome.failed = ErrorOfStatus(status, object->dump(), 0);
    return outcome;
  }
  const std::string version = Str(At(*object, {"metadata", "resourceVersion"}));
  if (type == "BOOKMARK") {
    if (!state.initial) {
      Saw(state, version);
      return outcome;
    }
    const Json& annotations = At(*object, {"metadata", "annotations"});
    if (Str(Child(annotations, "k8s.io/initial-events-end")) == "true") {
      Close(state, version);
      outcome.replace = true;
    }
    return outcome;
  }
  if (state.initial) {
    state.collected.objects.Add(*object);
    return outcome;
  }
  Saw(state, version);
  state.failures = 0;
  outcome.event = true;
  outcome.type = type == "DELETED" ? EventType::kDeleted
                 : type == "ADDED" ? EventType::kAdded
                                   : EventType::kModified;
  return outcome;
}

std::optional<WatchLine> ParseWatchLine(const std::string& line) {
  Result<Json> parsed = ParseObject(line);
  if (!parsed || !parsed->is_object()) return std::nullopt;
  WatchLine read;
  read.type = Str(Child(*parsed, "type"));
  const auto object = parsed->find("object");
  Json body = object == parsed->end() ? Json() : std::move(*object);
  read.object = std::make_shared<const Json>(std::move(body));
  return read;
}

Error Silence() { return {ErrorCode::kGone, "the watch went silent", 0, 0}; }

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
  // Whoever answers after a lost connection may serve a store that was set back meanwhile, and no
  // version need tell. A server that is only busy is the one that we know.
  restart.relist = error->code != ErrorCode::kTooManyRequests || state.initial;
  return restart;
}

Reflector::Reflector(Api& api, WatchApi& watch, const Clock& clock, std::uint64_t seed,
                     ResourceType type, ListOptions selector, ReflectorSink sink)
    : api_(api), watch_(watch), clock_(clock), rng_(seed), type_(std::move(type)),
      selector_(std::move(selector)), sink_(std::move(sink)) {}

Reflector::~Reflector() = default;

void Reflector::HandOver() {
  ListedSet set = std::move(state_.collected);
  state_.collected = ListedSet{};
  sink_.on_replace(std::move(set));
  synced_ = true;
}

std::optional<Error> Reflector::ListPages(const std::stop_token& stop) {
  BeginList(state_, clock_.Now());
  while (!stop.stop_requested()) {
    Result<Json> page = api_.List(type_, NextPage(state_, selector_), kListTimeoutMs);
    if (!page) return page.error();
    if (!OnListPage(state_, *page)) continue;
    HandOver();
    return std::nullopt;
  }
  return std::nullopt;
}

std::optional<Error> Reflector::Take(const std::string& line) {
  const std::optional<WatchLine> read = ParseWatchLine(line);
  if (!read) return std::nullopt;
  const WatchOutcome outcome = OnWatchEvent(state_, read->type, read->object);
  if (outcome.replace) HandOver();
  if (outcome.event) sink_.on_event(outcome.type, *read->object);
  return outcome.failed;
}

std::shared_ptr<Reflector::Queue> Reflector::NewQueue() {
  auto queue = std::make_shared<Queue>();
  std::lock_guard lock(queue_mutex_);
  queue_ = queue;
  if (relist_) End(*queue);
  return queue;
}

void Reflector::End(Queue& queue) {
  queue.ended = true;
  queue.error = Error{ErrorCode::kGone, "a new list was asked for", 0, 0};
  queue.ready.notify_all();
}

void Reflector::Relist() {
  std::lock_guard lock(queue_mutex_);
  relist_ = true;
  if (queue_ == nullptr) return;
  std::lock_guard queue_lock(queue_->mutex);
  End(*queue_);
}

bool Reflector::RelistAsked() {
  std::lock_guard lock(queue_mutex_);
  return std::exchange(relist_, false);
}

std::optional<Error> Reflector::WatchOnce(const std::stop_token& stop) {
  const std::shared_ptr<Queue> queue = NewQueue();
  std::unique_ptr<WatchStream> stream = watch_.Watch(
      type_, BeginWatch(state_, selector_, clock_.Now()),
      [queue](std::string line) {
        std::lock_guard lock(queue->mutex);
        if (queue->lines.size() < kQueueMax) queue->lines.push_back(std::move(line));
        queue->ready.notify_all();
      },
      [queue](std::optional<Error> error) {
        std::lock_guard lock(queue->mutex);
        if (!queue->ended) queue->error = std::move(error);
        queue->ended = true;
        queue->ready.notify_all();
      });
  std::optional<Error> failed;
  while (!stop.stop_requested() && !failed) {
    std::unique_lock lock(queue->mutex);
    const bool woken = queue->ready.wait_for(
        lock, stop, std::chrono::milliseconds(kWatchIdleLimitMs),
        [&] { return !queue->lines.empty() || queue->ended; });
    if (stop.stop_requested()) break;
    if (!woken) return Silence();
    if (queue->lines.empty()) return queue->error;
    const std::string line = std::move(queue->lines.front());
    queue->lines.pop_front();
    lock.unlock();
    failed = Take(line);
  }
  stream->Cancel();
  return failed;
}

void Reflector::Run(std::stop_token stop) {
  std::mutex mutex;
  std::condition_variable_any nap;
  while (!stop.stop_requested()) {
    std::optional<Error> error;
    if (RelistAsked()) BeginAnew(state_);
    if (MustList(state_)) error = ListPages(stop);
    if (!error && !stop.stop_requested()) error = WatchOnce(stop);
    if (stop.stop_requested()) return;
    if (error) {
      Log(LogLevel::kWarn, "watch restarts",
          {{"resource", type_.resource}, {"error", error->message}});
      if (sink_.on_restart) sink_.on_restart(*error);
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
