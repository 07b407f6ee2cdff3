// The simulated world's time, chance and network. One thread; virtual time moves from event to
// event; one seed gives one schedule, bit for bit.
// Units: milliseconds of virtual time. Source: TigerBeetle's VOPR, FoundationDB's Sim2.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "operator/base/clock.h"
#include "operator/base/rng.h"

namespace regroup::sim {

class World final : public Clock {
 public:
  explicit World(std::uint64_t seed, bool print_trace = false);

  MonoMs Now() const override { return now_; }
  WallMs WallNow() const override;

  // `fn` runs once, `ms` from now; events of one instant run in the order of their scheduling.
  void After(std::int64_t ms, std::function<void()> fn);
  // Runs the next event; false when there is none.
  bool RunOne();

  Rng& rng() { return rng_; }
  std::int64_t Between(std::int64_t low, std::int64_t high);  // both ends included
  bool Chance(double probability) { return rng_.Chance(probability); }
  std::string NewId(const std::string& prefix);  // unique in the run
  std::string NewHex40();

  // Each line enters the trace hash; it is printed only with print_trace.
  void Trace(const std::string& line);
  bool tracing() const { return print_trace_; }
  std::uint64_t trace_hash() const { return hash_; }
  std::uint64_t event_count() const { return event_count_; }

 private:
  MonoMs now_;
  Rng rng_;
  bool print_trace_;
  std::uint64_t hash_ = 0xcbf29ce484222325ULL;
  std::uint64_t event_count_ = 0;
  std::uint64_t sequence_ = 0;
  std::uint64_t id_ = 0;
  std::map<std::pair<MonoMs, std::uint64_t>, std::function<void()>> events_;
};

// Hosts are named: nodes, operators, "api". A packet goes from host to host; TCP needs both ways.
class Network {
 public:
  void CutHost(const std::string& host) { cut_.insert(host); }
  void HealHost(const std::string& host) { cut_.erase(host); }
  void Block(const std::string& from, const std::string& to) { blocked_.insert({from, to}); }
  void Unblock(const std::string& from, const std::string& to) { blocked_.erase({from, to}); }
  void HealAll();

  bool Passes(const std::string& from, const std::string& to) const;
  bool BothWays(const std::string& a, const std::string& b) const {
    return Passes(a, b) && Passes(b, a);
  }
  bool IsCut(const std::string& host) const { return cut_.count(host) > 0; }
  bool Whole() const { return cut_.empty() && blocked_.empty(); }

 private:
  std::set<std::string> cut_;
  std::set<std::pair<std::string, std::string>> blocked_;
};

// Every data set of a run is a path in one tree of entries: a write that no other has, or a PING of
// the replication stream. So "older", "newer" and "other history" are facts, not guesses.
class History {
 public:
  struct Entry {
    int parent = -1;
    std::int64_t writes = 0;  // acknowledged writes from the root to here
    bool is_write = false;
    bool replicated = false;  // once held by two members
  };
  static constexpr int kEmpty = -1;

  int Append(int parent, bool is_write);
  std::int64_t Writes(int head) const { return head < 0 ? 0 : entries_[Index(head)].writes; }
  // True where `older` is on the path of `newer`; the empty set is older than every other.
  bool IsPrefix(int older, int newer) const;
  void MarkReplicated(int head);
  // No write on the path of `head` is missing on the path of `holder`; PINGs do not count.
  bool HasEveryWrite(int holder, int head) const;
  // Replicated writes of `head` that are not on the path of `other`.
  std::int64_t ReplicatedBeyond(int head, int other) const;

 private:
  static std::size_t Index(int head) { return static_cast<std::size_t>(head); }
  std::vector<Entry> entries_;
};

}  // namespace regroup::sim
