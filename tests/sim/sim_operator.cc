#include "tests/sim/sim_operator.h"

#include <algorithm>
#include <optional>

namespace regroup::sim {
namespace {

constexpr std::int64_t kWatchdogMs = 50;
constexpr std::int64_t kRetryWindowMs = 10'000;
// A failover with its repairs needs some hundred calls; a loop without a pause needs thousands.
constexpr std::int64_t kCallsInWindowMax = 1500;

model::Catalogue SimCatalogue() {
  model::Catalogue catalogue;
  catalogue.images["redis/7.0"] = "registry.example/redis:7.0";
  catalogue.classes["cache.t4g.small"] = {1'500'000'000, 2000, 1'000'000'000};
  return catalogue;
}

runtime::LeaderOptions Candidate(const std::string& host, std::uint64_t process_id) {
  runtime::LeaderOptions options;
  options.namespace_name = "regroup-system";
  options.lease_name = "regroup";
  options.identity = host + "-" + std::to_string(process_id);
  return options;
}

}  // namespace

SimOperator::Process::Process(SimOperator& owner, std::uint64_t process_id)
    : id(process_id),
      worker_api(owner.server_, owner.world_, owner.network_, owner.host_, &owner.faults_->api),
      reflector_api(owner.server_, owner.world_, owner.network_, owner.host_,
                    &owner.faults_->api),
      lease_api(owner.server_, owner.world_, owner.network_, owner.host_, &owner.faults_->api),
      watch(owner.server_, owner.world_, owner.network_, owner.host_, &owner.faults_->watch,
            &awake_at),
      caches(owner.plan_options_.read_your_writes), queue(owner.world_->rng().Next()),
      election(Candidate(owner.host_, process_id)) {}

SimOperator::SimOperator(std::string host, World* world, Network* network, Engines* engines,
                         ApiServer* server, Checker* checker, const OperatorFaults* faults,
                         model::PlanOptions plan_options, StepFault* step_fault)
    : host_(std::move(host)), world_(world), network_(network), engines_(engines),
      server_(server), checker_(checker), faults_(faults), plan_options_(plan_options),
      step_fault_(step_fault) {
  server_->OnCommit([this](const std::shared_ptr<const Commit>& commit) {
    if (process_ != nullptr) process_->watch.OnCommit(commit);
  });
  server_->OnRestart([this] {
    if (process_ != nullptr) process_->watch.LoseAll();
  });
}

// Runs `step` later, in the same process or not at all.
void SimOperator::After(std::int64_t ms, void (SimOperator::*step)()) {
  world_->After(ms, [this, id = process_->id, step] {
    if (process_ != nullptr && process_->id == id) (this->*step)();
  });
}

// A stopped process does nothing until it goes on; then it does what it was about to do.
bool SimOperator::Stopped(void (SimOperator::*step)()) {
  if (world_->Now() >= process_->awake_at) return false;
  process_->slept = true;
  After(process_->awake_at - world_->Now(), step);
  return true;
}

void SimOperator::Start() {
  if (process_ != nullptr) return;
  process_ = std::make_unique<Process>(*this, ++process_id_);
  process_->fleet = std::make_unique<FakeFleet>(
      engines_, host_, &faults_->fleet, [this, id = process_->id](const std::string& key, bool u) {
        if (process_ != nullptr && process_->id == id) Wake(key, u);
      });
  engines_->AddObserver(process_->fleet.get());
  reconcile::Ports ports;
  ports.api = &process_->worker_api;
  ports.fleet = process_->fleet.get();
  ports.clock = world_;
  ports.caches = &process_->caches;
  ports.new_password = [world = world_] { return world->NewHex40(); };
  ports.interrupted = [queue = &process_->queue](const std::string& key) {
    return queue->HasUrgent(key);
  };
  // By a generator of its own: without such a neighbour a seed's schedule is as it was.
  ports.others_first = [this, rng = std::make_shared<Rng>(process_->id)] {
    const bool wait = faults_->others_first > 0 && rng->Chance(faults_->others_first);
    if (wait) checker_->Count("gave way to another group");
    return wait;
  };
  ports.rewound = [this] { Rewound(); };
  reconcile::Options options;
  options.catalogue = SimCatalogue();
  options.plan = plan_options_;
  options.parallel = false;
  options.identity = process_->election.options().identity;
  process_->reconciler = std::make_unique<reconcile::Reconciler>(ports, options);
  world_->Trace(host_ + " starts");
  checker_->OnOperatorStart();
  for (const reconcile::Watched kind : reconcile::kAllWatched) StartReflector(kind);
  After(world_->Between(5, 1000), &SimOperator::Campaign);
}

void SimOperator::Crash(std::int64_t down_ms) {
  if (process_ == nullptr) return;
  const bool inside = process_->round != nullptr;
  world_->Trace(host_ + " crashes" + (inside ? " inside a round" : ""));
  checker_->Count(inside ? "operator crashes inside a round" : "operator crashes at rest");
  writes_of_dead_ += process_->worker_api.writes();
  process_->fleet->Crash();
  process_->round.reset();
  process_->reconciler.reset();
  dead_fleets_.push_back(std::move(process_->fleet));
  process_.reset();
  world_->After(down_ms, [this] { Start(); });
}

void SimOperator::Pause(std::int64_t ms) {
  if (process_ == nullptr) return;
  world_->Trace(host_ + " pauses for " + std::to_string(ms) + " ms");
  if (process_->leading) {
    checker_->Count(process_->round ? "paused leader, inside a round" : "paused leader, at rest");
  }
  process_->awake_at = std::max(process_->awake_at, world_->Now() + ms);
  process_->fleet->SleepUntil(process_->awake_at);
}

void SimOperator::LeadAnyway(bool on) {
  lead_anyway_ = on;
  if (process_ != nullptr) Settle();
}

void SimOperator::ResetHungWatches() {
  if (process_ != nullptr) process_->watch.ResetHung();
}

std::int64_t SimOperator::api_writes() const {
  return writes_of_dead_ + (process_ == nullptr ? 0 : process_->worker_api.writes());
}

// ---------------------------------------------------------------- the caches

void SimOperator::StartReflector(reconcile::Watched kind) {
  const auto wake_all = [this](const std::vector<std::string>& keys) {
    for (const std::string& key : keys) Wake(key, false);
  };
  kube::ReflectorSink sink;
  sink.on_replace = [this, kind, wake_all](const kube::ListedSet& set) {
    checker_->Count(server_->serves_watch_list() ? "lists" : "list by pages");
    if (set.rewound) Rewound();
    wake_all(process_->caches.Replace(kind, set, world_->Now()));
    if (lead_anyway_) Settle();
  };
  sink.on_event = [this, kind, wake_all](kube::EventType type, const Json& object) {
    wake_all(type == kube::EventType::kDeleted
                 ? process_->caches.Remove(kind, object, world_->Now())
                 : process_->caches.Put(kind, object, world_->Now()));
  };
  sink.on_restart = [this](const Error& error) {
    checker_->Count("watch restarts: " + std::string(ToString(error.code)));
    if (error.message == kube::Silence().message) {
      checker_->Count("watch silent until the idle limit");
    }
  };
  const reconcile::WatchedType watched = reconcile::TypeOf(kind);
  kube::ListOptions selector;
  selector.label_selector = watched.label_selector;
  process_->reflectors.push_back(std::make_unique<SimReflector>(
      &process_->reflector_api, &process_->watch, world_, &process_->awake_at, watched.type,
      selector, std::move(sink)));
  process_->reflectors.back()->Start();
}

bool SimOperator::Synced() const {
  return std::all_of(process_->reflectors.begin(), process_->reflectors.end(),
                     [](const auto& reflector) { return reflector->Synced(); });
}

void SimOperator::Rewound() {
  world_->Trace(host_ + " finds the store set back");
  checker_->Count("operator finds the store set back");
  process_->caches.Doubt(world_->Now());
  for (const auto& reflector : process_->reflectors) reflector->Relist();
}

// ---------------------------------------------------------------- the worker

void SimOperator::Wake(const std::string& key, bool urgent) {
  process_->queue.Add(key, urgent ? runtime::Priority::kUrgent : runtime::Priority::kNormal);
  if (process_->key.empty()) LookAt(world_->Now() + world_->Between(0, 3));
}

void SimOperator::LookAt(MonoMs at) {
  if (process_->look_at != 0 && process_->look_at <= at) return;
  process_->look_at = at;
  After(at - world_->Now(), &SimOperator::Look);
}

bool SimOperator::AnotherLeads() const {
  const Json* lease = server_->Find({{"coordination.k8s.io", "v1", "leases", true},
                                     "regroup-system", "regroup"});
  const std::string holder =
      lease == nullptr ? "" : Str(At(*lease, {"spec", "holderIdentity"}));
  return !holder.empty() && holder != process_->election.options().identity;
}

// The worker takes the next key, as runtime::Controller does.
void SimOperator::Look() {
  if (process_->look_at == 0 || world_->Now() < process_->look_at) return;  // an older wish
  if (Stopped(&SimOperator::Look)) return;
  process_->look_at = 0;
  if (!process_->key.empty()) return;
  const std::optional<std::string> key = process_->queue.Take(world_->Now());
  if (!key) {
    const MonoMs due = process_->queue.NextDue();
    if (due >= 0) LookAt(due);
    return;
  }
  process_->key = *key;
  if (!process_->leading) {
    process_->reconciler->Watch(*key);
    return LeaveKey({});
  }
  process_->round = process_->reconciler->Begin(*key);
  if (process_->round == nullptr) return LeaveKey({});
  checker_->Count("rounds");
  After(world_->Between(0, 3) + TakeCost(), &SimOperator::StepRound);
}

void SimOperator::StepRound() {
  if (Stopped(&SimOperator::StepRound)) return;
  if (process_->round == nullptr) return;  // work stopped with the Lease
  if (std::exchange(process_->slept, false) && AnotherLeads()) {
    checker_->Count("paused leader resumed, another leads");
  }
  const std::int64_t lost_before = process_->worker_api.lost_replies();
  const std::int64_t calls_before = process_->worker_api.calls();
  const bool more = process_->round->Step();
  checker_->Count("steps");
  if (process_->worker_api.lost_replies() > lost_before) {
    checker_->Count("lost replies");
    if (process_->worker_api.calls() > calls_before + 1 && !process_->round->dropped()) {
      checker_->Count("lost reply of a record read back");
    }
  }
  const std::int64_t cost = TakeCost();
  if (MaybeDisturb()) return;
  After(cost, more ? &SimOperator::StepRound : &SimOperator::EndRound);
}

void SimOperator::EndRound() {
  if (Stopped(&SimOperator::EndRound)) return;
  if (process_->round == nullptr) return;
  if (process_->round->dropped()) {
    const bool failed = process_->round->failed();
    checker_->Count(failed ? "rounds dropped: failed" : "rounds dropped: conflict");
  }
  LeaveKey(process_->reconciler->End(process_->key, std::move(process_->round)));
}

void SimOperator::LeaveKey(const runtime::Outcome& outcome) {
  if (!outcome.ok) checker_->Count("failed passes");
  process_->round.reset();
  process_->queue.Finish(std::exchange(process_->key, ""), outcome, world_->Now());
  BoundRetries();
  LookAt(world_->Now() + std::max<std::int64_t>(TakeCost(), 1));
}

// Invariant L3: whatever happens, what is tried again has a pause.
void SimOperator::BoundRetries() {
  const std::int64_t calls = process_->worker_api.calls();
  if (world_->Now() - process_->counted_from > kRetryWindowMs) {
    process_->counted_from = world_->Now();
    process_->counted_calls = calls;
  }
  if (calls - process_->counted_calls > kCallsInWindowMax) {
    checker_->Fault("L3", host_ + " sent more than " + std::to_string(kCallsInWindowMax) +
                              " API calls in 10 s");
    process_->counted_calls = calls;
  }
}

// Between two effects: a crash, or a stop long enough for another to take the Lease.
bool SimOperator::MaybeDisturb() {
  if (step_fault_ != nullptr && ++step_fault_->steps == step_fault_->at_step + 1) {
    if (step_fault_->kind == StepFault::Kind::kPause) {
      Pause(step_fault_->pause_ms);
      return false;
    }
    Crash(1000);
    return true;
  }
  if (world_->Chance(faults_->crash_after_step)) {
    Crash(world_->Between(200, 5000));
    return true;
  }
  if (world_->Chance(faults_->pause_after_step)) {
    Pause(faults_->pauses_outlive_lease ? world_->Between(4000, 12'000)
                                        : world_->Between(20, 1500));
  }
  return false;
}

std::int64_t SimOperator::TakeCost() {
  return process_->worker_api.TakeCost() + process_->fleet->TakeCost();
}

// ---------------------------------------------------------------- the Lease

// One attempt, as LeaderElector::Try(); nothing is decided on caches that are not whole.
void SimOperator::Campaign() {
  if (Stopped(&SimOperator::Campaign)) return;
  After(process_->election.options().retry_ms + world_->Between(0, 20), &SimOperator::Campaign);
  if (!Synced() || process_->asking) return;
  Ask(process_->election.Begin(world_->Now(), world_->WallNow()));
}

// The call is made now, and its answer is taken when its time has passed and the process runs.
void SimOperator::Ask(const runtime::LeaseAsk& ask) {
  process_->asking = ask.call != runtime::LeaseAsk::Call::kNone;
  if (!process_->asking) return;
  process_->answer =
      runtime::Call(process_->lease_api, process_->election.options(), ask);
  After(process_->lease_api.TakeCost(), &SimOperator::Answered);
}

void SimOperator::Answered() {
  if (Stopped(&SimOperator::Answered)) return;
  const Result<kube::LeaseRecord> answer = std::exchange(process_->answer, kube::LeaseRecord{});
  const runtime::LeaseAsk next =
      process_->election.OnAnswer(answer, world_->Now(), world_->WallNow());
  if (process_->election.TakeRewound()) Rewound();
  Settle();
  Ask(next);
}

// The watchdog: work has stopped at the deadline even when the API server does not answer.
void SimOperator::Tick() {
  if (Stopped(&SimOperator::Tick)) return;
  process_->ticking = false;
  process_->election.Expire(world_->Now());
  Settle();
}

void SimOperator::Settle() {
  const runtime::Election& election = process_->election;
  if (election.leading() && !process_->ticking) {
    process_->ticking = true;
    After(kWatchdogMs, &SimOperator::Tick);
  }
  const bool leads = election.leading() || (lead_anyway_ && Synced());
  if (process_->leading == leads) return;
  process_->leading = leads;
  world_->Trace(host_ + (leads ? " leads" : " stops leading: " + election.reason()));
  if (leads) {
    checker_->Count("leaderships");
    process_->reconciler->StartLeading();
  } else {
    checker_->Count("leaderships ended: " + election.reason());
    // The part under way is the last one of its pass.
    if (process_->round != nullptr) LeaveKey({});
    process_->reconciler->StopLeading();
  }
  for (const std::string& key : process_->caches.GroupKeys()) Wake(key, false);
}

}  // namespace regroup::sim
