// A value that many holders share while it is equal: a thousand groups with the same parameters
// hold them once. Immutable; a change makes another value.
// Thread: any. Lifetime: a value lives as long as its last holder.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace regroup {

template <typename T>
class Interned {
 public:
  Interned() = default;  // T{}, held by nobody
  explicit Interned(T value) : value_(value == T{} ? nullptr : Pooled(std::move(value))) {}

  const T& operator*() const { return value_ == nullptr ? Nothing() : *value_; }
  const T* operator->() const { return &**this; }
  bool operator==(const Interned& other) const { return **this == *other; }

  // `change` gets a copy as T&.
  template <typename F>
  void Change(F change) {
    T next = **this;
    change(next);
    *this = Interned(std::move(next));
  }

 private:
  struct Pool {
    std::mutex mutex;
    std::map<T, std::weak_ptr<const T>> values;
    std::size_t clean_at = 64;
  };

  static const T& Nothing() {
    static const T nothing{};
    return nothing;
  }

  static std::shared_ptr<const T> Pooled(T value) {
    static Pool pool;
    std::lock_guard lock(pool.mutex);
    if (pool.values.size() >= pool.clean_at) {
      std::erase_if(pool.values, [](const auto& entry) { return entry.second.expired(); });
      pool.clean_at = 2 * pool.values.size() + 64;
    }
    std::weak_ptr<const T>& held = pool.values[value];
    std::shared_ptr<const T> shared = held.lock();
    if (shared == nullptr) {
      shared = std::make_shared<const T>(std::move(value));
      held = shared;
    }
    return shared;
  }

  std::shared_ptr<const T> value_;
};

}  // namespace regroup
