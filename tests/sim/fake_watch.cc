#include "tests/sim/fake_watch.h"

#include <algorithm>
#include <cstdlib>

#include "operator/kube/transport.h"

namespace regroup::sim {
namespace {

constexpr std::int64_t kBookmarkMs = 60'000;
constexpr std::int64_t kCutRetryMs = 300;

kube::Object Bookmark(std::int64_t version, bool initial_end) {
  Json metadata{{"resourceVersion", std::to_string(version)}};
  if (initial_end) metadata["annotations"] = {{"k8s.io/initial-events-end", "true"}};
  return std::make_shared<const Json>(Json{{"metadata", std::move(metadata)}});
}

kube::Object Status(int code) {
  return std::make_shared<const Json>(
      Json{{"kind", "Status"}, {"code", code}, {"message", "too old resource version"}});
}

Error Lost() { return {ErrorCode::kUnavailable, "the connection was lost", 0, 0}; }

}  // namespace

FakeWatch::FakeWatch(ApiServer* server, World* world, Network* network, std::string host,
                     const WatchFaults* faults, const MonoMs* awake_at)
    : server_(server), world_(world), network_(network), host_(std::move(host)), faults_(faults),
      awake_at_(awake_at) {}

FakeWatch::~FakeWatch() { *alive_ = false; }

void FakeWatch::At(MonoMs at, std::function<void()> fn) {
  world_->After(at - world_->Now(), [alive = alive_, fn = std::move(fn)] {
    if (*alive) fn();
  });
}

std::int64_t FakeWatch::Lag() {
  const std::int64_t own = world_->Chance(0.1) ? world_->Between(0, faults_->lag_ms_max)
                                               : world_->Between(1, 20);
  return own + faults_->stale_ms;
}

std::uint64_t FakeWatch::Open(const kube::ResourceType& type, const kube::WatchOptions& options,
                              Sink sink) {
  const std::uint64_t id = next_id_++;
  Stream& stream = streams_[id];
  stream.type = type;
  stream.options = options;
  stream.sink = std::move(sink);
  stream.ends_at = world_->Now() + std::int64_t{1000} * options.timeout_seconds;
  if (!network_->BothWays(host_, "api")) {
    Queue(id, "", nullptr, Lost());
  } else if (world_->Chance(faults_->refuse)) {
    const bool busy = world_->Chance(0.5);
    Queue(id, "", nullptr, kube::ErrorOfStatus(busy ? 429 : 500, "", busy ? 1000 : 0));
  } else {
    Begin(id, stream);
  }
  return id;
}

// What is told at once: the present set, or what the log has after the version that is asked for.
void FakeWatch::Begin(std::uint64_t id, Stream& stream) {
  const kube::WatchOptions& options = stream.options;
  if (options.send_initial_events && !server_->serves_watch_list()) {
    return Queue(id, "", nullptr, kube::ErrorOfStatus(422, "", 0));
  }
  if (options.send_initial_events) {
    for (const kube::Object& object :
         server_->Matching(stream.type, options.namespace_name, options.label_selector)) {
      Queue(id, "ADDED", object);
    }
    stream.from = server_->version();
    Queue(id, "BOOKMARK", Bookmark(stream.from, true));
  } else {
    stream.from = std::strtoll(options.resource_version.c_str(), nullptr, 10);
    const auto commits = server_->Since(stream.from, stream.type.resource);
    if (!commits) {
      const bool as_event = world_->Chance(0.5);
      if (as_event) Queue(id, "ERROR", Status(410));
      else Queue(id, "", nullptr, kube::ErrorOfStatus(410, "", 0));
      return;
    }
    for (const auto& commit : *commits) OnCommit(commit);
  }
  ScheduleBookmark(id);
  At(stream.ends_at, [this, id] { Queue(id, "", nullptr); });
}

void FakeWatch::ScheduleBookmark(std::uint64_t id) {
  At(world_->Now() + kBookmarkMs, [this, id] {
    const auto it = streams_.find(id);
    if (it == streams_.end()) return;
    const std::int64_t version = server_->version();
    if (version > it->second.from) Queue(id, "BOOKMARK", Bookmark(version, false));
    ScheduleBookmark(id);
  });
}

void FakeWatch::OnCommit(const std::shared_ptr<const Commit>& commit) {
  for (auto& [id, stream] : streams_) {
    if (stream.type.resource != commit->resource || commit->version <= stream.from) continue;
    const std::string& name_space = stream.options.namespace_name;
    if (!name_space.empty() && commit->key.rfind(name_space + "/", 0) != 0) continue;
    stream.from = commit->version;
    const std::string type = SeenThrough(*commit, stream.options.label_selector);
    if (!type.empty()) Queue(id, type, commit->object);
  }
}

void FakeWatch::Queue(std::uint64_t id, std::string type, const kube::Object& object,
                      std::optional<Error> error) {
  const auto it = streams_.find(id);
  if (it == streams_.end()) return;
  Stream& stream = it->second;
  Event event{world_->Now() + Lag(), std::move(type), object, std::move(error)};
  if (!stream.queue.empty()) event.due = std::max(event.due, stream.queue.back().due);
  stream.queue.push_back(std::move(event));
  Wake(id);
}

void FakeWatch::Wake(std::uint64_t id) {
  Stream& stream = streams_.at(id);
  if (stream.waking || stream.queue.empty() || stream.hung) return;
  stream.waking = true;
  At(std::max(stream.queue.front().due, *awake_at_), [this, id] {
    const auto it = streams_.find(id);
    if (it == streams_.end()) return;
    it->second.waking = false;
    Deliver(id);
  });
}

// True: the stream goes wrong here.
bool FakeWatch::Disturb(Stream& stream) {
  if (world_->Chance(faults_->hang)) {
    world_->Trace(host_ + " watch of " + stream.type.resource + " hangs");
    stream.hung = true;
    return true;
  }
  if (!world_->Chance(faults_->end)) return false;
  world_->Trace(host_ + " watch of " + stream.type.resource + " ends early");
  stream.queue.clear();
  Event end{world_->Now(), "", nullptr, std::nullopt};
  switch (world_->rng().Below(3)) {
    case 0: break;  // a clean end
    case 1: end.error = Lost(); break;
    default:
      end.type = "ERROR";
      end.object = Status(410);
  }
  stream.queue.push_back(std::move(end));
  return false;
}

void FakeWatch::Deliver(std::uint64_t id) {
  while (true) {
    const auto it = streams_.find(id);
    if (it == streams_.end() || it->second.hung || it->second.queue.empty()) return;
    Stream& stream = it->second;
    if (!network_->BothWays(host_, "api")) {
      stream.queue.front().due = world_->Now() + kCutRetryMs;
      return Wake(id);
    }
    if (stream.queue.front().due > world_->Now() || *awake_at_ > world_->Now()) return Wake(id);
    if (!stream.queue.front().type.empty() && Disturb(stream)) return;
    const Event event = std::move(stream.queue.front());
    stream.queue.pop_front();
    if (!event.type.empty()) {
      const auto on_event = stream.sink.on_event;  // the stream may be closed by it
      on_event(event.type, event.object);
      continue;
    }
    const auto on_end = stream.sink.on_end;
    streams_.erase(id);
    return on_end(event.error);
  }
}

void FakeWatch::LoseAll() {
  for (auto& [id, stream] : streams_) {
    stream.queue.clear();
    stream.hung = false;
    Queue(id, "", nullptr, Lost());
  }
}

void FakeWatch::ResetHung() {
  for (auto& [id, stream] : streams_) {
    if (!stream.hung) continue;
    stream.hung = false;
    stream.queue.clear();
    Queue(id, "", nullptr, Lost());
  }
}

}  // namespace regroup::sim
