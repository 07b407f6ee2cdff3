#include "tests/sim/clients.h"

#include <algorithm>

#include "operator/base/json.h"

namespace regroup::sim {
namespace {

constexpr std::int64_t kTickMs = 50;
constexpr std::int64_t kTimeoutMs = 100;
constexpr std::int64_t kRetryMs = 300;
constexpr std::int64_t kLastCutMs = 4900;
constexpr int kPort = 6379;

}  // namespace

Clients::Clients(World* world, Network* network, Engines* engines, ApiServer* server,
                 Checker* checker)
    : world_(world), network_(network), engines_(engines), server_(server), checker_(checker) {
  server->OnChange([this](const Change& change) { OnChange(change); });
}

void Clients::AddNode(const std::string& node) {
  Seat seat;
  seat.node = node;
  seats_.push_back(seat);
}

void Clients::OnChange(const Change& change) {
  if (change.resource != "endpointslices") return;
  const Json& slice = change.object;
  if (Str(At(slice, {"metadata", "name"})).find("primary") == std::string::npos) return;
  const bool gone = change.type == "DELETED";
  if (gone && server_->Objects("replicationgroups").empty()) return OnDeleted();
  const Json& endpoints = Child(slice, "endpoints");
  address_.clear();
  if (!gone && endpoints.is_array() && !endpoints.empty()) {
    const Json& addresses = Child(endpoints[0], "addresses");
    if (addresses.is_array() && !addresses.empty()) address_ = Str(addresses[0]);
  }
  for (std::size_t i = 0; i < seats_.size(); ++i) {
    const bool behind = seats_[i].target != address_;
    if (behind && seats_[i].behind_since == 0) seats_[i].behind_since = world_->Now();
    const std::int64_t lag_ms = world_->Chance(0.05)  ? world_->Between(1000, 4000)
                                : world_->Chance(0.2) ? world_->Between(100, 1000)
                                                      : world_->Between(5, 60);
    seats_[i].proxy_due = std::max(seats_[i].proxy_due, world_->Now() + lag_ms);
    world_->After(lag_ms, [this, i] { Learn(i); });
  }
}

// The group was deleted: its applications are started anew.
void Clients::OnDeleted() {
  address_.clear();
  for (Seat& seat : seats_) {
    seat.target.clear();
    seat.behind_since = 0;
    Drop(seat);
  }
}

void Clients::Learn(std::size_t index) {
  Seat& seat = seats_[index];
  if (world_->Now() < seat.proxy_due) return;  // a later change is on its way
  if (!network_->BothWays(seat.node, "api")) {
    world_->After(kRetryMs, [this, index] { Learn(index); });
    return;
  }
  if (seat.target != address_) world_->Trace("proxy on " + seat.node + " sends to " + address_);
  seat.target = address_;
  // A declared limit: clients are cut off up to 5 s after a demotion; whoever comes by a proxy that
  // is further behind, on a node that was cut off, stays until it gives up by itself.
  const bool late = seat.behind_since > 0 && world_->Now() - seat.behind_since > kLastCutMs;
  seat.behind_since = 0;
  if (late && seat.engine != nullptr) {
    checker_->Count("note: a proxy learned of a change after the last cut of clients");
    Drop(seat);
  }
}

void Clients::Tick() {
  for (Seat& seat : seats_) {
    if (seat.engine == nullptr) Connect(seat);
    else Write(seat);
  }
  world_->After(kTickMs, [this] { Tick(); });
}

void Clients::Connect(Seat& seat) {
  if (seat.target.empty()) return;
  Engine* engine = engines_->Alive(seat.target, kPort);
  if (engine == nullptr || engine->frozen() || engine->stranger()) return;
  if (!network_->BothWays(seat.node, engine->node())) return;
  world_->Trace("client on " + seat.node + " connects to " + engine->Describe());
  seat.engine = engine;
  seat.connection = engine->OpenClient();
  seat.unanswered_since = seat.refused_since = 0;
}

void Clients::Drop(Seat& seat) {
  seat.engine = nullptr;
  seat.refused_since = 0;
}

void Clients::Write(Seat& seat) {
  Engine& engine = *seat.engine;
  const MonoMs now = world_->Now();
  const bool reached = network_->BothWays(seat.node, engine.node());
  if (reached && (!engine.alive() || !engine.HasClient(seat.connection))) return Drop(seat);
  if (!reached || engine.frozen()) {
    if (seat.unanswered_since == 0) seat.unanswered_since = now;
    if (now - seat.unanswered_since >= kTimeoutMs) Drop(seat);
    return;
  }
  seat.unanswered_since = 0;
  if (engine.Write()) {
    checker_->Count("writes acknowledged through the endpoint");
    seat.refused_since = 0;
  } else if (!engine.is_primary() && seat.refused_since == 0) {
    checker_->Count("a client on a demoted primary");
    seat.refused_since = now;
  }
}

void Clients::CheckNobodyIsStuck(std::int64_t longer_than_ms) {
  for (const Seat& seat : seats_) {
    if (seat.engine == nullptr || seat.refused_since == 0) continue;
    if (world_->Now() - seat.refused_since < longer_than_ms) continue;
    checker_->Fault("old-clients", "the client on " + seat.node + " is left on " +
                                       seat.engine->Describe() + ", which takes no writes");
  }
}

}  // namespace regroup::sim
