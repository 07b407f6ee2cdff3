#include "tests/sim/sim_operator.h"

#include <algorithm>
#include <optional>

namespace regroup::sim {
namespace {

constexpr char kKey[] = "default/web-cache";
constexpr std::int64_t kLeaseMs = 5000;
constexpr std::int64_t kRenewDeadlineMs = 3000;
constexpr std::int64_t kLeaseRetryMs = 1000;

std::optional<reconcile::Watched> WatchedOf(const std::string& resource) {
  static const std::map<std::string, reconcile::Watched> kKinds = {
      {"replicationgroups", reconcile::Watched::kGroup},
      {"pods", reconcile::Watched::kPod},
      {"endpointslices", reconcile::Watched::kSlice},
      {"nodes", reconcile::Watched::kNode},
      {"secrets", reconcile::Watched::kSecret},
      {"configmaps", reconcile::Watched::kConfigMap},
      {"services", reconcile::Watched::kService},
      {"poddisruptionbudgets", reconcile::Watched::kBudget},
      {"persistentvolumeclaims", reconcile::Watched::kVolume}};
  const auto it = kKinds.find(resource);
  return it == kKinds.end() ? std::nullopt : std::optional(it->second);
}

model::Catalogue SimCatalogue() {
  model::Catalogue catalogue;
  catalogue.images["redis/7.0"] = "registry.example/redis:7.0";
  catalogue.classes["cache.t4g.small"] = {1'500'000'000, 2000, 1'000'000'000};
  return catalogue;
}

}  // namespace

SimOperator::SimOperator(std::string host, World* world, Network* network, Engines* engines,
                         ApiServer* server, Lease* lease, Checker* checker,
                         const OperatorFaults* faults, model::PlanOptions plan_options)
    : host_(std::move(host)), world_(world), network_(network), engines_(engines),
      server_(server), lease_(lease), checker_(checker), faults_(faults),
      plan_options_(plan_options) {
  server_->OnChange([this](const Change& change) { OnChange(change); });
}

// Runs `step` later, in the same process or not at all.
void SimOperator::After(std::int64_t ms, void (SimOperator::*step)()) {
  world_->After(ms, [this, id = process_->id, step] {
    if (process_ != nullptr && process_->id == id) (this->*step)();
  });
}

// A stopped process does nothing until it goes on; then it does what it was about to do.
bool SimOperator::Paused(void (SimOperator::*step)()) {
  if (world_->Now() >= process_->paused_until) return false;
  After(process_->paused_until - world_->Now(), step);
  return true;
}

void SimOperator::Start() {
  if (process_ != nullptr) return;
  process_ = std::make_unique<Process>();
  process_->id = ++process_id_;
  process_->api = std::make_unique<FakeApi>(server_, world_, network_, host_, &faults_->api);
  process_->fleet = std::make_unique<FakeFleet>(
      engines_, host_, &faults_->fleet, [this, id = process_->id](const std::string& key, bool u) {
        if (process_ != nullptr && process_->id == id) Wake(key, u);
      });
  engines_->AddObserver(process_->fleet.get());
  process_->caches = std::make_unique<reconcile::Caches>();
  reconcile::Ports ports;
  ports.api = process_->api.get();
  ports.fleet = process_->fleet.get();
  ports.clock = world_;
  ports.caches = process_->caches.get();
  ports.new_password = [world = world_] { return world->NewHex40(); };
  reconcile::Options options;
  options.catalogue = SimCatalogue();
  options.plan = plan_options_;
  options.parallel = false;
  options.identity = host_ + "-" + std::to_string(process_->id);
  process_->reconciler = std::make_unique<reconcile::Reconciler>(ports, options);
  world_->Trace(host_ + " starts");
  After(world_->Between(5, 100), &SimOperator::ListAll);
  After(world_->Between(5, kLeaseRetryMs), &SimOperator::TendLease);
}

void SimOperator::Crash(std::int64_t down_ms) {
  if (process_ == nullptr) return;
  world_->Trace(host_ + " crashes" + (process_->round ? " inside a round" : ""));
  checker_->Count(process_->round ? "operator crashes inside a round" : "operator crashes at rest");
  writes_of_dead_ += process_->api->writes();
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
  process_->paused_until = std::max(process_->paused_until, world_->Now() + ms);
}

void SimOperator::LeadAnyway(bool on) {
  lead_anyway_ = on;
  if (process_ == nullptr) return;
  if (on) SetLeading(true);
}

std::int64_t SimOperator::api_writes() const {
  return writes_of_dead_ + (process_ == nullptr ? 0 : process_->api->writes());
}

// ---------------------------------------------------------------- the caches

void SimOperator::ListAll() {
  if (Paused(&SimOperator::ListAll)) return;
  if (!network_->BothWays(host_, "api")) return After(500, &SimOperator::ListAll);
  process_->feed.clear();
  for (const char* resource : {"nodes", "replicationgroups", "pods", "endpointslices", "secrets",
                               "configmaps", "services", "poddisruptionbudgets",
                               "persistentvolumeclaims"}) {
    kube::Listed listed;
    for (const Json& object : server_->Objects(resource)) listed.Add(object);
    process_->caches->Replace(*WatchedOf(resource), listed, server_->Version(), world_->Now());
  }
  process_->listed = true;
  Wake(kKey, false);
}

void SimOperator::OnChange(const Change& change) {
  if (process_ == nullptr || !process_->listed || !WatchedOf(change.resource)) return;
  std::deque<Pending>& feed = process_->feed[change.resource];
  const std::int64_t lag = world_->Chance(0.1)
                               ? world_->Between(0, faults_->watch_lag_ms_max)
                               : world_->Between(1, 20);
  MonoMs due = world_->Now() + lag;
  if (!feed.empty()) due = std::max(due, feed.back().due);
  feed.push_back({due, change});
  if (feed.size() == 1) Feed(change.resource);
}

// Hands over in order, each change when it is due and the API server can be reached.
void SimOperator::Feed(const std::string& resource) {
  std::deque<Pending>& feed = process_->feed[resource];
  while (!feed.empty()) {
    MonoMs due = std::max(feed.front().due, process_->paused_until);
    if (!network_->BothWays(host_, "api")) due = std::max(due, world_->Now() + 300);
    if (due > world_->Now()) {
      world_->After(due - world_->Now(), [this, id = process_->id, resource] {
        if (process_ != nullptr && process_->id == id) Feed(resource);
      });
      return;
    }
    const Change change = std::move(feed.front().change);
    feed.pop_front();
    Deliver(change);
  }
}

void SimOperator::Deliver(const Change& change) {
  const reconcile::Watched kind = *WatchedOf(change.resource);
  const std::vector<std::string> keys =
      change.type == "DELETED" ? process_->caches->Remove(kind, change.object, world_->Now())
                               : process_->caches->Put(kind, change.object, world_->Now());
  for (const std::string& key : keys) Wake(key, false);
}

// ---------------------------------------------------------------- rounds

void SimOperator::Wake(const std::string& key, bool) {
  if (key != kKey || !process_->listed) return;
  if (!process_->leading) {
    process_->reconciler->Watch(kKey);
    return;
  }
  process_->dirty = true;
  if (process_->round != nullptr || process_->planned) return;
  process_->planned = true;
  After(world_->Between(0, 3), &SimOperator::BeginRound);
}

void SimOperator::BeginRound() {
  if (Paused(&SimOperator::BeginRound)) return;
  process_->planned = false;
  if (!process_->leading || process_->round != nullptr) return;
  process_->dirty = false;
  process_->round = process_->reconciler->Begin(kKey);
  if (process_->round == nullptr) return;
  checker_->Count("rounds");
  After(world_->Between(0, 3), &SimOperator::StepRound);
}

void SimOperator::StepRound() {
  if (Paused(&SimOperator::StepRound)) return;
  if (!process_->leading) return process_->round.reset();  // work stops at the deadline
  const bool more = process_->round->Step();
  checker_->Count("steps");
  const std::int64_t cost = TakeCost();
  if (MaybeDisturb()) return;
  After(cost, more ? &SimOperator::StepRound : &SimOperator::EndRound);
}

void SimOperator::EndRound() {
  if (Paused(&SimOperator::EndRound)) return;
  if (!process_->leading) return process_->round.reset();
  const std::int64_t requeue_ms =
      process_->reconciler->End(kKey, std::move(process_->round));
  process_->round = nullptr;
  process_->requeue_at = requeue_ms < 0 ? 0 : world_->Now() + requeue_ms;
  if (process_->dirty || requeue_ms == 0) return Wake(kKey, false);
  if (requeue_ms > 0) After(requeue_ms, &SimOperator::Requeue);
}

void SimOperator::Requeue() {
  if (process_->requeue_at == 0 || world_->Now() < process_->requeue_at) return;
  process_->requeue_at = 0;
  Wake(kKey, false);
}

// Between two effects: a crash, or a stop long enough for another to take the Lease.
bool SimOperator::MaybeDisturb() {
  if (world_->Chance(faults_->crash_after_step)) {
    Crash(world_->Between(200, 5000));
    return true;
  }
  if (world_->Chance(faults_->pause_after_step)) {
    checker_->Count("operator pauses inside a round");
    Pause(faults_->pauses_outlive_lease ? world_->Between(4000, 12'000)
                                        : world_->Between(20, 1500));
  }
  return false;
}

std::int64_t SimOperator::TakeCost() {
  return process_->api->TakeCost() + process_->fleet->TakeCost();
}

// ---------------------------------------------------------------- the Lease

void SimOperator::TendLease() {
  if (Paused(&SimOperator::TendLease)) return;
  const MonoMs now = world_->Now();
  const bool free = lease_->holder.empty() || now - lease_->renewed_at > kLeaseMs;
  const bool mine = lease_->holder == host_ && process_->last_renewed > 0;
  if (network_->BothWays(host_, "api") && process_->listed && (mine || free)) {
    if (!mine) world_->Trace(host_ + " takes the lease");
    lease_->holder = host_;
    lease_->renewed_at = now;
    process_->last_renewed = now;
    SetLeading(true);
  } else if (process_->leading && !lead_anyway_) {
    if (!mine || now - process_->last_renewed > kRenewDeadlineMs) {
      process_->last_renewed = 0;
      SetLeading(false);
    }
  }
  After(kLeaseRetryMs + world_->Between(0, 100), &SimOperator::TendLease);
}

void SimOperator::SetLeading(bool on) {
  if (process_->leading == on) return;
  process_->leading = on;
  world_->Trace(host_ + (on ? " leads" : " stops leading"));
  if (on) {
    checker_->Count("leaderships");
    process_->reconciler->StartLeading();
    Wake(kKey, true);
  } else {
    process_->reconciler->StopLeading();  // a round under way ends before its next step
  }
}

}  // namespace regroup::sim
