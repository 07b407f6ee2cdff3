// One operator's watches of the simulated API server: each stream has its own place in the log and
// its own lag. What goes wrong: an opening refused (429, 500), a version that was compacted (410 as
// a status or as an ERROR event), a stream that ends, or that hangs half-open without a word, and a
// second API server that is behind the first for a while.
// A stream that is resumed at a version which the server has not reached (its store was set back)
// stays silent until it has, bookmarks too: so does kube-apiserver.
// Events are values here, not lines of text: the reading of lines has its own tests.
// Thread: one. Lifetime: callbacks run from World events while this object lives.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "operator/kube/api.h"
#include "tests/sim/api_server.h"

namespace regroup::sim {

struct WatchFaults {
  double refuse = 0;   // an opening is answered by 429 or 500
  double end = 0;      // for each event: the stream ends instead, in one way or another
  double hang = 0;     // for each event: nothing comes any more until somebody gives up
  std::int64_t lag_ms_max = 50;
  std::int64_t stale_ms = 0;  // the whole server behind this client's watches lags by this much
};

class FakeWatch {
 public:
  struct Sink {
    std::function<void(const std::string& type, const kube::Object& object)> on_event;
    std::function<void(std::optional<Error> error)> on_end;  // once, and last
  };

  // `awake_at`: a stopped process reads nothing before that time.
  FakeWatch(ApiServer* server, World* world, Network* network, std::string host,
            const WatchFaults* faults, const MonoMs* awake_at);
  ~FakeWatch();
  FakeWatch(const FakeWatch&) = delete;
  FakeWatch& operator=(const FakeWatch&) = delete;

  std::uint64_t Open(const kube::ResourceType& type, const kube::WatchOptions& options, Sink sink);
  void Close(std::uint64_t id) { streams_.erase(id); }
  void OnCommit(const std::shared_ptr<const Commit>& commit);
  // The server restarts: every connection is lost.
  void LoseAll();
  // The server's end of a half-open connection answers again, with a reset.
  void ResetHung();

 private:
  struct Event {
    MonoMs due = 0;
    std::string type;     // empty: the end of the stream
    kube::Object object;
    std::optional<Error> error;
  };
  struct Stream {
    kube::ResourceType type;
    kube::WatchOptions options;
    Sink sink;
    std::deque<Event> queue;
    std::int64_t from = 0;  // versions up to this one are never told
    MonoMs ends_at = 0;
    bool hung = false;
    bool waking = false;
  };

  void Queue(std::uint64_t id, std::string type, const kube::Object& object,
             std::optional<Error> error = std::nullopt);
  void Wake(std::uint64_t id);
  void Deliver(std::uint64_t id);
  bool Disturb(Stream& stream);
  void Begin(std::uint64_t id, Stream& stream);
  void ScheduleBookmark(std::uint64_t id);
  void At(MonoMs at, std::function<void()> fn);
  std::int64_t Lag();

  ApiServer* server_;
  World* world_;
  Network* network_;
  std::string host_;
  const WatchFaults* faults_;
  const MonoMs* awake_at_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::map<std::uint64_t, Stream> streams_;
  std::uint64_t next_id_ = 1;
};

}  // namespace regroup::sim
