// One operator replica: a host, and on it a process that can crash, pause and come back with
// nothing. Everything that decides is production's: the reflectors' steps, the caches, the work
// queue's rules, the election, the reconcile room. What main.cc does with threads, this does with
// events of the world; only the ports are simulated. Between any two effects the world goes on.
// Thread: one.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "operator/reconcile/reconciler.h"
#include "operator/runtime/leader.h"
#include "operator/runtime/work_queue.h"
#include "tests/sim/checker.h"
#include "tests/sim/fake_api.h"
#include "tests/sim/fake_fleet.h"
#include "tests/sim/fake_watch.h"
#include "tests/sim/sim_reflector.h"

namespace regroup::sim {

struct OperatorFaults {
  ApiFaults api;
  FleetFaults fleet;
  WatchFaults watch;
  double crash_after_step = 0;
  double pause_after_step = 0;          // a long stop with the rest of the round still to do
  bool pauses_outlive_lease = false;
  double others_first = 0;              // other groups fail, too, and their passes are urgent
};

// What happens to a leader after exactly one of its steps, for the systematic runs.
struct StepFault {
  enum class Kind { kCrash, kPause } kind = Kind::kCrash;
  std::int64_t at_step = -1;   // counted over both operators while leading; -1: never
  std::int64_t pause_ms = 0;
  std::int64_t steps = 0;      // how many there were
};

class SimOperator {
 public:
  SimOperator(std::string host, World* world, Network* network, Engines* engines,
              ApiServer* server, Checker* checker, const OperatorFaults* faults,
              model::PlanOptions plan_options, StepFault* step_fault = nullptr);

  void Start();
  void Crash(std::int64_t down_ms);  // and starts again after that time
  void Pause(std::int64_t ms);
  // Leads without the Lease, as after a clock fault: safety must not need it.
  void LeadAnyway(bool on);
  void ResetHungWatches();
  bool synced() const { return running() && Synced(); }
  // Its watches have told it of this very group.
  bool Sees(const model::GroupMeta& meta) const {
    const auto group = running() ? process_->caches.Group(model::KeyOf(meta)) : nullptr;
    return group != nullptr && group->meta.uid == meta.uid;
  }
  bool running() const { return process_ != nullptr; }
  bool leading() const { return running() && process_->leading; }
  const std::string& host() const { return host_; }
  std::int64_t api_writes() const;  // of all its processes, without the Lease's

 private:
  // All that a crash takes away. Each thread of production has its own client, because a call
  // takes time on its own thread only.
  struct Process {
    Process(SimOperator& owner, std::uint64_t process_id);
    const std::uint64_t id;
    MonoMs awake_at = 0;  // stopped until then
    FakeApi worker_api;
    FakeApi reflector_api;
    FakeApi lease_api;
    FakeWatch watch;
    std::unique_ptr<FakeFleet> fleet;
    reconcile::Caches caches;
    std::unique_ptr<reconcile::Reconciler> reconciler;
    runtime::WorkQueueCore queue;
    runtime::Election election;
    std::vector<std::unique_ptr<SimReflector>> reflectors;
    std::string key;  // what the worker works on; empty: it waits
    std::unique_ptr<reconcile::Round> round;
    MonoMs look_at = 0;  // when the worker looks into the queue next; 0: not planned
    bool leading = false;
    bool asking = false;  // a call about the Lease is under way
    bool ticking = false;
    bool slept = false;   // a step of the worker waited for the end of a stop
    Result<kube::LeaseRecord> answer;
    MonoMs counted_from = 0;  // the window of the bound on retries
    std::int64_t counted_calls = 0;
  };

  void After(std::int64_t ms, void (SimOperator::*step)());
  bool Stopped(void (SimOperator::*step)());
  void StartReflector(reconcile::Watched kind);
  bool Synced() const;
  void Rewound();

  void Wake(const std::string& key, bool urgent);
  void LookAt(MonoMs at);
  void Look();
  void StepRound();
  void EndRound();
  void LeaveKey(const runtime::Outcome& outcome);
  bool MaybeDisturb();
  bool AnotherLeads() const;
  std::int64_t TakeCost();
  void BoundRetries();

  void Campaign();
  void Ask(const runtime::LeaseAsk& ask);
  void Answered();
  void Tick();
  void Settle();

  std::string host_;
  World* world_;
  Network* network_;
  Engines* engines_;
  ApiServer* server_;
  Checker* checker_;
  const OperatorFaults* faults_;
  model::PlanOptions plan_options_;
  StepFault* step_fault_;
  bool lead_anyway_ = false;
  std::uint64_t process_id_ = 0;
  std::int64_t writes_of_dead_ = 0;
  std::unique_ptr<Process> process_;
  // Fleets of crashed processes: engines' observers still point at them until the run ends.
  std::vector<std::unique_ptr<FakeFleet>> dead_fleets_;
};

}  // namespace regroup::sim
