// One redis::AsioFleet on a thread of its own, watching one member on loopback.
// Lifetime: what a derived fixture makes ends before the fleet does.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include <asio.hpp>
#include <gtest/gtest.h>

#include "operator/redis/asio_fleet.h"

namespace regroup::redis {

inline void SleepMs(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

class WatchedFleet : public testing::Test {
 protected:
  static constexpr char kGroup[] = "default/web-cache";
  static constexpr char kUid[] = "uid-1";

  WatchedFleet()
      : fleet_(io_, clock_, [this](const auto&, bool urgent) { urgent_ = urgent_ || urgent; }, 1),
        work_(asio::make_work_guard(io_)), thread_([this] { io_.run(); }) {}
  ~WatchedFleet() override {
    // Orderly: once the fleet has stopped nothing keeps the context busy, and it ends by itself.
    fleet_.Stop();
    work_.reset();
    thread_.join();
  }
  void Watch(const Credentials& credentials, int port) {
    fleet_.SetTargets(kGroup, credentials, {{kUid, "127.0.0.1", port}});
  }
  MemberFacts Facts() { return fleet_.Facts(kGroup)[kUid]; }
  // False after 5 s.
  bool Until(const std::function<bool(const MemberFacts&)>& holds) {
    const MonoMs end = clock_.Now() + 5000;
    while (clock_.Now() < end) {
      if (holds(Facts())) return true;
      SleepMs(2);
    }
    return false;
  }

  SystemClock clock_;
  std::atomic<bool> urgent_{false};

 private:
  asio::io_context io_{1};

 protected:
  AsioFleet fleet_;

 private:
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::thread thread_;
};

}  // namespace regroup::redis
