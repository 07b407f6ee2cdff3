// Pruned objects by key, with an index by group: what the reflectors saw, and at once what our own
// writes answered (read-your-writes). Knows no Redis and no JSON.
// Thread: any. Lifetime: values are shared and immutable; a reader keeps what it got.
// Source: notes on controller semantics A2, A3.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "operator/base/clock.h"

namespace regroup::runtime {

template <typename T>
struct Item {
  std::string key;    // "namespace/name"
  std::string uid;
  std::int64_t version = 0;  // resourceVersion as a number; comparable within a resource type
  std::string group;  // index key, may be empty
  std::shared_ptr<const T> value;
  MonoMs put_at = 0;  // when this process learned of it
};

enum class Index { kNone, kByGroup };

template <typename T, Index kIndex = Index::kNone>
class Store {
 public:
  // Atomic replacement from a list that was asked for at `asked_at`. What this process learned
  // since then and is newer than the list (our own writes) stays; what it knew before is in the
  // list, or the API server's store was set back to an older state and it is no longer true.
  // Returns the groups that were touched.
  std::vector<std::string> Replace(std::vector<Item<T>> items, std::int64_t list_version,
                                   MonoMs asked_at) {
    std::lock_guard lock(mutex_);
    std::map<std::string, Item<T>> next;
    std::set<std::string> touched;
    for (Item<T>& item : items) {
      const auto gone = gone_.find(item.uid);
      if (gone != gone_.end() && gone->second >= asked_at) continue;  // from before the deletion
      if (gone != gone_.end()) gone_.erase(gone);                     // it came back
      const auto old = items_.find(item.key);
      if (old == items_.end() || old->second.version != item.version) touched.insert(item.group);
      const std::string key = std::move(item.key);  // held once, as the map's
      next[key] = std::move(item);
    }
    for (auto& [key, old] : items_) {
      const auto found = next.find(key);
      const bool newer = old.put_at >= asked_at && old.version > list_version;
      if (newer && (found == next.end() || found->second.version < old.version)) next[key] = old;
      else if (found == next.end()) touched.insert(old.group);
    }
    items_.swap(next);
    by_group_.clear();
    for (const auto& [key, item] : items_) Link(key, item.group);
    return {touched.begin(), touched.end()};
  }

  // Whether Put() would take it: asked before an object is read out of its JSON, because a watch
  // brings each of our own writes a second time.
  bool Wants(const std::string& key, const std::string& uid, std::int64_t version) const {
    std::lock_guard lock(mutex_);
    return WantsLocked(key, uid, version);
  }

  // From a watch, or the answer of our own write. False: older than what is held, or of a UID that
  // is known to be gone.
  bool Put(Item<T> item) {
    std::lock_guard lock(mutex_);
    if (!WantsLocked(item.key, item.uid, item.version)) return false;
    const auto old = items_.find(item.key);
    if (old != items_.end()) Unlink(item.key, old->second.group);
    Link(item.key, item.group);
    const std::string key = std::move(item.key);  // held once, as the map's
    items_[key] = std::move(item);
    return true;
  }

  // Leaves a tombstone, so that a late event cannot bring a deleted object back.
  bool Remove(const std::string& key, const std::string& uid, MonoMs now) {
    std::lock_guard lock(mutex_);
    if (gone_.insert_or_assign(uid, now).second) order_.push_back(uid);
    while (order_.size() > kTombstonesMax) {
      gone_.erase(order_.front());
      order_.pop_front();
    }
    const auto old = items_.find(key);
    if (old == items_.end() || old->second.uid != uid) return false;
    Unlink(key, old->second.group);
    items_.erase(old);
    return true;
  }

  std::shared_ptr<const T> Get(const std::string& key) const {
    std::lock_guard lock(mutex_);
    const auto found = items_.find(key);
    return found == items_.end() ? nullptr : found->second.value;
  }

  std::vector<std::shared_ptr<const T>> ByGroup(const std::string& group) const
    requires(kIndex == Index::kByGroup)
  {
    std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<const T>> out;
    const auto keys = by_group_.find(group);
    if (keys == by_group_.end()) return out;
    for (const std::string& key : keys->second) out.push_back(items_.at(key).value);
    return out;
  }

  std::vector<std::shared_ptr<const T>> All() const {
    std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<const T>> out;
    for (const auto& [key, item] : items_) out.push_back(item.value);
    return out;
  }

  std::vector<std::string> Keys() const {
    std::lock_guard lock(mutex_);
    std::vector<std::string> out;
    for (const auto& [key, item] : items_) out.push_back(key);
    return out;
  }

  std::size_t size() const {
    std::lock_guard lock(mutex_);
    return items_.size();
  }

 private:
  bool WantsLocked(const std::string& key, const std::string& uid, std::int64_t version) const {
    if (gone_.count(uid) > 0) return false;
    const auto old = items_.find(key);
    return old == items_.end() || old->second.uid != uid || old->second.version < version;
  }

  static constexpr std::size_t kTombstonesMax = 1024;

  void Link(const std::string& key, const std::string& group) {
    if constexpr (kIndex == Index::kByGroup) by_group_[group].insert(key);
  }

  void Unlink(const std::string& key, const std::string& group) {
    if constexpr (kIndex == Index::kNone) return;
    const auto keys = by_group_.find(group);
    keys->second.erase(key);
    if (keys->second.empty()) by_group_.erase(keys);
  }

  mutable std::mutex mutex_;
  std::map<std::string, Item<T>> items_;
  std::map<std::string, std::set<std::string>> by_group_;  // keys of items_
  std::map<std::string, MonoMs> gone_;  // by UID, and since when
  std::deque<std::string> order_;
};

}  // namespace regroup::runtime
