// What the reconcile room needs of the outside, and its settings.
// Thread: the ports may be called from any worker. Lifetime: outlive the reconciler.
#pragma once

#include <functional>
#include <string>

#include "operator/base/clock.h"
#include "operator/base/metrics.h"
#include "operator/kube/api.h"
#include "operator/model/catalogue.h"
#include "operator/model/plan.h"
#include "operator/reconcile/caches.h"
#include "operator/redis/fleet.h"

namespace regroup::reconcile {

struct Ports {
  kube::Api* api = nullptr;
  redis::Fleet* fleet = nullptr;
  const Clock* clock = nullptr;
  Caches* caches = nullptr;
  Metrics* metrics = nullptr;                            // may be null
  std::function<std::string()> new_password;             // 32 random bytes as hex
  std::function<bool(const std::string& key)> interrupted;  // something urgent waits; may be empty
  // Other groups' urgent passes wait for a worker; may be empty.
  std::function<bool()> others_first;
  bool OthersFirst() const { return others_first && others_first(); }
  // The API server's store was found set back to an older state; may be empty. The owner calls
  // Caches::Doubt and has every kind listed again.
  std::function<void()> rewound;
  std::function<void(const std::string& name)> failpoint;   // tests only; may be empty
};

struct Options {
  model::Catalogue catalogue;
  model::PlanOptions plan;   // production runs with the defaults
  bool parallel = true;      // engine commands of a round side by side; the simulator: one by one
  std::string identity;      // of this process, in Events
};

inline constexpr std::int64_t kApiTimeoutMs = 1000;
inline constexpr std::int64_t kEngineTimeoutMs = 500;
inline constexpr char kFieldManager[] = "regroup";

}  // namespace regroup::reconcile
