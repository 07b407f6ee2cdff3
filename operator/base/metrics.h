// The figures that Regroup shows at /metrics: one registry, filled by the rooms, served by admin.
// Names follow Prometheus' conventions: base units (seconds, bytes), `_total` on counters.
// Thread: any. Lifetime: outlives every room that holds a reference.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace regroup {

struct GroupFigures {
  std::int64_t epoch = 0;
  int members_wanted = 0;
  int members_available = 0;
  int replicas_in_sync = 0;
  std::int64_t lag_bytes_max = 0;
  bool available = false;  // the primary endpoint takes writes
};

class Metrics {
 public:
  Metrics();
  ~Metrics();

  void CountReconcile(std::string_view result, std::int64_t duration_ms);
  void SetQueueDepth(std::size_t depth);
  void CountApiCall(std::string_view verb, int code, std::int64_t duration_ms);
  void CountWatchRestart(const std::string& resource);
  void SetLeader(bool leading);
  // `group` is "namespace/name".
  void SetGroup(const std::string& group, const GroupFigures& figures);
  void CountFailover(const std::string& group, const std::string& reason,
                     std::int64_t duration_ms);
  // One stage of it: detect, promote, endpoint.
  void CountFailoverStage(const std::string& reason, const std::string& stage,
                          std::int64_t duration_ms);
  void RemoveGroup(const std::string& group);

  // Prometheus' text format.
  std::string Text() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace regroup
