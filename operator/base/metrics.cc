#include "operator/base/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <map>
#include <mutex>

namespace regroup {

namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;

const Histogram::BucketBoundaries kCallSeconds{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                               0.1,   0.25,   0.5,   1,    2.5};
const Histogram::BucketBoundaries kStageSeconds{0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2,
                                                0.5,   1,     2,    5,    10,   60};
const Histogram::BucketBoundaries kFailoverSeconds{0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60};

double Seconds(std::int64_t ms) { return static_cast<double>(ms) / 1000.0; }

}  // namespace

struct Metrics::Impl {
  struct GroupGauges {
    Gauge* epoch;
    Gauge* wanted;
    Gauge* ready;
    Gauge* in_sync;
    Gauge* lag;
    Gauge* serving;
  };

  prometheus::Registry registry;
  Family<Counter>& reconciles = BuildCounter()
                                    .Name("regroup_reconciles_total")
                                    .Help("Reconcile passes by result.")
                                    .Register(registry);
  Histogram& reconcile_seconds = BuildHistogram()
                                     .Name("regroup_reconcile_duration_seconds")
                                     .Help("Duration of one reconcile pass.")
                                     .Register(registry)
                                     .Add({}, kCallSeconds);
  Gauge& queue_depth = BuildGauge()
                           .Name("regroup_queue_depth")
                           .Help("Groups that wait for a worker.")
                           .Register(registry)
                           .Add({});
  Gauge& leader = BuildGauge()
                      .Name("regroup_leader")
                      .Help("1 while this replica leads.")
                      .Register(registry)
                      .Add({});
  Family<Counter>& api_calls = BuildCounter()
                                   .Name("regroup_api_calls_total")
                                   .Help("Calls of the Kubernetes API by verb and HTTP code.")
                                   .Register(registry);
  Family<Histogram>& api_seconds = BuildHistogram()
                                       .Name("regroup_api_call_duration_seconds")
                                       .Help("Duration of calls of the Kubernetes API by verb.")
                                       .Register(registry);
  Family<Counter>& watch_restarts = BuildCounter()
                                        .Name("regroup_watch_restarts_total")
                                        .Help("Watches that ended otherwise than cleanly.")
                                        .Register(registry);
  Family<Gauge>& epoch =
      BuildGauge().Name("regroup_group_epoch").Help("Epoch of the record.").Register(registry);
  Family<Gauge>& wanted = BuildGauge()
                              .Name("regroup_group_members_wanted")
                              .Help("Members that the spec wants.")
                              .Register(registry);
  Family<Gauge>& ready = BuildGauge()
                             .Name("regroup_group_members_available")
                             .Help("Members that do their job.")
                             .Register(registry);
  Family<Gauge>& in_sync = BuildGauge()
                               .Name("regroup_group_replicas_in_sync")
                               .Help("Replicas that could be promoted.")
                               .Register(registry);
  Family<Gauge>& lag = BuildGauge()
                           .Name("regroup_group_replica_lag_bytes")
                           .Help("Largest distance of a replica from the primary's offset.")
                           .Register(registry);
  Family<Gauge>& serving = BuildGauge()
                               .Name("regroup_group_available")
                               .Help("1 while the primary endpoint takes writes.")
                               .Register(registry);
  Family<Counter>& failovers = BuildCounter()
                                   .Name("regroup_failovers_total")
                                   .Help("Changes of the primary by reason.")
                                   .Register(registry);
  Family<Histogram>& failover_seconds =
      BuildHistogram()
          .Name("regroup_failover_duration_seconds")
          .Help("From the decision to the moved endpoint, by reason.")
          .Register(registry);
  Family<Histogram>& failover_stage_seconds =
      BuildHistogram()
          .Name("regroup_failover_stage_duration_seconds")
          .Help("Stages of a change of the primary, by reason: detect (last sign of life to the "
                "decision), promote (to the new primary's answer), endpoint (to the written "
                "primary endpoint).")
          .Register(registry);
  std::mutex mutex;
  std::map<std::string, GroupGauges> groups;

  static std::map<std::string, std::string> LabelsOf(const std::string& group) {
    const std::size_t slash = group.find('/');
    return {{"namespace", group.substr(0, slash)}, {"group", group.substr(slash + 1)}};
  }
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

void Metrics::CountReconcile(std::string_view result, std::int64_t duration_ms) {
  impl_->reconciles.Add({{"result", std::string(result)}}).Increment();
  impl_->reconcile_seconds.Observe(Seconds(duration_ms));
}

void Metrics::SetQueueDepth(std::size_t depth) {
  impl_->queue_depth.Set(static_cast<double>(depth));
}

void Metrics::CountApiCall(std::string_view verb, int code, std::int64_t duration_ms) {
  impl_->api_calls.Add({{"verb", std::string(verb)}, {"code", std::to_string(code)}}).Increment();
  impl_->api_seconds.Add({{"verb", std::string(verb)}}, kCallSeconds)
      .Observe(Seconds(duration_ms));
}

void Metrics::CountWatchRestart(const std::string& resource) {
  impl_->watch_restarts.Add({{"resource", resource}}).Increment();
}

void Metrics::SetLeader(bool leading) { impl_->leader.Set(leading ? 1 : 0); }

void Metrics::SetGroup(const std::string& group, const GroupFigures& figures) {
  std::lock_guard lock(impl_->mutex);
  auto found = impl_->groups.find(group);
  if (found == impl_->groups.end()) {
    const auto labels = Impl::LabelsOf(group);
    const Impl::GroupGauges gauges{&impl_->epoch.Add(labels), &impl_->wanted.Add(labels),
                                   &impl_->ready.Add(labels), &impl_->in_sync.Add(labels),
                                   &impl_->lag.Add(labels),   &impl_->serving.Add(labels)};
    found = impl_->groups.emplace(group, gauges).first;
  }
  const Impl::GroupGauges& gauges = found->second;
  gauges.epoch->Set(static_cast<double>(figures.epoch));
  gauges.wanted->Set(figures.members_wanted);
  gauges.ready->Set(figures.members_available);
  gauges.in_sync->Set(figures.replicas_in_sync);
  gauges.lag->Set(static_cast<double>(figures.lag_bytes_max));
  gauges.serving->Set(figures.available ? 1 : 0);
}

void Metrics::CountFailover(const std::string& group, const std::string& reason,
                            std::int64_t duration_ms) {
  auto labels = Impl::LabelsOf(group);
  labels["reason"] = reason;
  impl_->failovers.Add(labels).Increment();
  impl_->failover_seconds.Add({{"reason", reason}}, kFailoverSeconds)
      .Observe(Seconds(duration_ms));
}

void Metrics::CountFailoverStage(const std::string& reason, const std::string& stage,
                                 std::int64_t duration_ms) {
  impl_->failover_stage_seconds.Add({{"reason", reason}, {"stage", stage}}, kStageSeconds)
      .Observe(Seconds(duration_ms));
}

void Metrics::RemoveGroup(const std::string& group) {
  std::lock_guard lock(impl_->mutex);
  const auto found = impl_->groups.find(group);
  if (found == impl_->groups.end()) return;
  impl_->epoch.Remove(found->second.epoch);
  impl_->wanted.Remove(found->second.wanted);
  impl_->ready.Remove(found->second.ready);
  impl_->in_sync.Remove(found->second.in_sync);
  impl_->lag.Remove(found->second.lag);
  impl_->serving.Remove(found->second.serving);
  impl_->groups.erase(found);
}

std::string Metrics::Text() const {
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace regroup
