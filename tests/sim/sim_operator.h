// One operator replica: a host, and on it a process that can crash, pause and come back with
// nothing. Its reconcile room is the production one; only its ports are simulated. Between any two
// effects the world goes on.
// Thread: one.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>

#include "operator/reconcile/reconciler.h"
#include "tests/sim/checker.h"
#include "tests/sim/fake_api.h"
#include "tests/sim/fake_fleet.h"

namespace regroup::sim {

struct OperatorFaults {
  ApiFaults api;
  FleetFaults fleet;
  double crash_after_step = 0;
  double pause_after_step = 0;          // a long stop with the rest of the round still to do
  std::int64_t watch_lag_ms_max = 50;
  bool pauses_outlive_lease = false;
};

// The Lease, kept by the world: what matters here is only who believes to lead, and when.
struct Lease {
  std::string holder;
  MonoMs renewed_at = 0;
};

class SimOperator {
 public:
  SimOperator(std::string host, World* world, Network* network, Engines* engines,
              ApiServer* server, Lease* lease, Checker* checker, const OperatorFaults* faults,
              model::PlanOptions plan_options);

  void Start();
  void Crash(std::int64_t down_ms);  // and starts again after that time
  void Pause(std::int64_t ms);
  // Leads without the Lease, as after a clock fault: safety must not need it.
  void LeadAnyway(bool on);
  bool running() const { return process_ != nullptr; }
  bool leading() const { return running() && process_->leading; }
  const std::string& host() const { return host_; }
  std::int64_t api_writes() const;

 private:
  struct Pending {
    MonoMs due = 0;
    Change change;
  };
  // All that a crash takes away.
  struct Process {
    std::unique_ptr<FakeApi> api;
    std::unique_ptr<FakeFleet> fleet;
    std::unique_ptr<reconcile::Caches> caches;
    std::unique_ptr<reconcile::Reconciler> reconciler;
    std::unique_ptr<reconcile::Round> round;
    std::map<std::string, std::deque<Pending>> feed;  // by resource, in order
    bool listed = false;
    bool leading = false;
    bool dirty = false;
    bool planned = false;       // a Begin is in the queue
    MonoMs paused_until = 0;
    MonoMs requeue_at = 0;      // 0: none
    MonoMs last_renewed = 0;
    std::uint64_t id = 0;
  };

  void After(std::int64_t ms, void (SimOperator::*step)());
  bool Paused(void (SimOperator::*step)());
  void ListAll();
  void OnChange(const Change& change);
  void Feed(const std::string& resource);
  void Deliver(const Change& change);
  void Wake(const std::string& key, bool urgent);
  void BeginRound();
  void StepRound();
  void EndRound();
  void Requeue();
  void TendLease();
  void SetLeading(bool on);
  bool MaybeDisturb();
  std::int64_t TakeCost();

  std::string host_;
  World* world_;
  Network* network_;
  Engines* engines_;
  ApiServer* server_;
  Lease* lease_;
  Checker* checker_;
  const OperatorFaults* faults_;
  model::PlanOptions plan_options_;
  bool lead_anyway_ = false;
  std::uint64_t process_id_ = 0;
  std::int64_t writes_of_dead_ = 0;
  std::unique_ptr<Process> process_;
  // Fleets of crashed processes: engines' observers still point at them until the run ends.
  std::vector<std::unique_ptr<FakeFleet>> dead_fleets_;
};

}  // namespace regroup::sim
