#include "tests/sim/world.h"

#include <cstdio>

namespace regroup::sim {
namespace {

constexpr MonoMs kStartMs = 10'000'000;            // never 0: zero means "not yet" in many facts
constexpr WallMs kWallStartMs = 1'780'000'000'000;  // some day in 2026

}  // namespace

World::World(std::uint64_t seed, bool print_trace)
    : now_(kStartMs), rng_(seed * 0x9E3779B97F4A7C15ULL + 1), print_trace_(print_trace) {}

WallMs World::WallNow() const { return kWallStartMs + now_; }

void World::After(std::int64_t ms, std::function<void()> fn) {
  events_.emplace(std::pair{now_ + (ms < 0 ? 0 : ms), sequence_++}, std::move(fn));
}

bool World::RunOne() {
  if (events_.empty()) return false;
  auto first = events_.extract(events_.begin());
  now_ = first.key().first;
  ++event_count_;
  first.mapped()();
  return true;
}

std::int64_t World::Between(std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(rng_.Below(static_cast<std::uint64_t>(high - low + 1)));
}

std::string World::NewId(const std::string& prefix) { return prefix + std::to_string(++id_); }

std::string World::NewHex40() {
  char text[48];
  std::snprintf(text, sizeof text, "%016llx%016llx%08llx",
                static_cast<unsigned long long>(rng_.Next()),
                static_cast<unsigned long long>(rng_.Next()),
                static_cast<unsigned long long>(rng_.Next() >> 32));
  return text;
}

void World::Trace(const std::string& line) {
  for (const char c : line) hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  hash_ = (hash_ ^ static_cast<std::uint64_t>(now_)) * 0x100000001b3ULL;
  if (!print_trace_) return;
  std::printf("%9.3f %s\n", static_cast<double>(now_ - kStartMs) / 1000.0, line.c_str());
}

void Network::HealAll() {
  cut_.clear();
  blocked_.clear();
}

bool Network::Passes(const std::string& from, const std::string& to) const {
  if (from == to) return true;
  return cut_.count(from) == 0 && cut_.count(to) == 0 && blocked_.count({from, to}) == 0;
}

int History::Append(int parent, bool is_write) {
  Entry entry;
  entry.parent = parent;
  entry.is_write = is_write;
  entry.writes = Writes(parent) + (is_write ? 1 : 0);
  entries_.push_back(entry);
  return static_cast<int>(entries_.size()) - 1;
}

bool History::IsPrefix(int older, int newer) const {
  if (older < 0) return true;
  while (newer > older) newer = entries_[Index(newer)].parent;  // parents have smaller numbers
  return newer == older;
}

void History::MarkReplicated(int head) {
  for (; head >= 0 && !entries_[Index(head)].replicated; head = entries_[Index(head)].parent) {
    entries_[Index(head)].replicated = true;
  }
}

bool History::HasEveryWrite(int holder, int head) const {
  while (head >= 0 && !entries_[Index(head)].is_write) head = entries_[Index(head)].parent;
  return IsPrefix(head, holder);
}

std::int64_t History::ReplicatedBeyond(int head, int other) const {
  std::int64_t lost = 0;
  while (head != other) {  // parents have smaller numbers, so the larger one steps back
    if (head < other) {
      other = entries_[Index(other)].parent;
      continue;
    }
    const Entry& entry = entries_[Index(head)];
    lost += entry.is_write && entry.replicated ? 1 : 0;
    head = entry.parent;
  }
  return lost;
}

}  // namespace regroup::sim
