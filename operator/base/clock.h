// Time as a port. Decisions take MonoMs values; only this file's SystemClock reads a clock (tidy
// enforces it), so the simulator can run hours in seconds.
// Thread: SystemClock may be called from any thread.
#pragma once

#include <cstdint>
#include <string>

namespace regroup {

// Milliseconds of CLOCK_BOOTTIME: never steps back, and goes on while the machine is suspended
// (std::chrono::steady_clock does not: a leader that slept would think its lease fresh).
using MonoMs = std::int64_t;
// Milliseconds since the Unix epoch: for people and for Kubernetes timestamps, never for decisions.
using WallMs = std::int64_t;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual MonoMs Now() const = 0;
  virtual WallMs WallNow() const = 0;
};

class SystemClock final : public Clock {
 public:
  MonoMs Now() const override;
  WallMs WallNow() const override;
};

// "2026-11-24T16:00:37Z" and, for Lease times, "2026-11-24T16:00:37.083000Z".
std::string FormatRfc3339(WallMs wall_ms);
std::string FormatRfc3339Micro(WallMs wall_ms);
// -1 where the text is no RFC 3339 time in UTC.
WallMs ParseRfc3339(const std::string& text);

}  // namespace regroup
