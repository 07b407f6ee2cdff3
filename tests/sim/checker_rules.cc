// The oracles of single rules: what a record, a slice or a call of the operator must not say.
#include "operator/model/group_json.h"
#include "tests/sim/checker.h"

namespace regroup::sim {
namespace {

constexpr std::int64_t kHealthEveryMs = 100;
// An operator's suspicion needs 1.5 s; who was well for so long before was not the one who failed.
constexpr std::int64_t kHealthyForMs = 10'000;
constexpr std::int64_t kJustDiedMs = 2'000;  // what an operator cannot have heard of yet
constexpr std::int64_t kCoolDownMs = 10'000;

bool RestsOnSilence(const std::string& reason) {
  return reason == "PrimaryUnreachable" || reason == "PrimaryUnresponsive";
}

}  // namespace

// ---------------------------------------------------------------- slices (rule endpoints)

void Checker::CheckSliceEpoch(const Json& slice) {
  const std::string name = Str(At(slice, {"metadata", "name"}));
  const Json& annotations = At(slice, {"metadata", "annotations"});
  const std::int64_t epoch =
      std::strtoll(Str(Child(annotations, "regroup.dev/epoch")).c_str(), nullptr, 10);
  std::int64_t& before = slice_epochs_[name];
  if (epoch < before) {
    Violate("endpoints", name + " went from epoch " + std::to_string(before) + " back to " +
                             std::to_string(epoch));
  }
  before = epoch;
}

// ---------------------------------------------------------------- deletes (S7)

void Checker::OnOperatorDelete(const kube::ObjectRef& ref,
                               const kube::Preconditions& preconditions) {
  Count("destructive calls");
  if (preconditions.uid.empty() || preconditions.resource_version.empty()) {
    Violate("S7", "the operator deletes " + ref.type.resource + "/" + ref.name +
                      " without saying which one");
  }
  if (ref.type.resource == "pods") CheckLastHolder(preconditions.uid);
}

void Checker::CheckLastHolder(const std::string& uid) {
  const Engine* leaving = uid.empty() ? nullptr : engines_->AliveOfPod(uid);
  if (leaving == nullptr || leaving->writes() == 0) return;
  // What a living primary lacks was given up when it was granted, not by this removal.
  const Engine* primary = engines_->AliveOfPod(recorded_uid_);
  if (primary != nullptr && primary->is_primary() && primary != leaving) return;
  if (primary_died_at_ > 0 && world_->Now() - primary_died_at_ < kJustDiedMs) return;
  for (const Json& group : server_->Objects("replicationgroups")) {
    if (At(group, {"metadata", "deletionTimestamp"}).is_string()) return;
  }
  for (const auto& other : engines_->all()) {
    if (!other->alive() || other.get() == leaving) continue;
    if (engines_->history().ReplicatedBeyond(leaving->head(), other->head()) == 0) return;
  }
  Violate("S7", "the operator removes the last holder of its writes: " + leaving->Describe());
}

// ---------------------------------------------------------------- changes of the primary

// Well: it runs, and every member that follows it can be reached from its host.
void Checker::LookAtHealth() {
  world_->After(kHealthEveryMs, [this] { LookAtHealth(); });
  const Engine* primary = recorded_uid_.empty() ? nullptr : engines_->AliveOfPod(recorded_uid_);
  bool well = primary != nullptr && primary->is_primary() && !primary->frozen() &&
              primary->run_id() == recorded_run_;
  for (const auto& other : engines_->all()) {
    if (!well || !other->alive() || other.get() == primary) continue;
    well = !other->frozen() && network_->BothWays(primary->node(), other->node());
  }
  if (!well || healthy_uid_ != recorded_uid_) healthy_since_ = world_->Now();
  healthy_uid_ = recorded_uid_;
}

void Checker::CheckTransition(const model::NodeGroupRecord& record) {
  if (!record.transition) {
    planned_from_uid_.clear();
    return;
  }
  const model::Transition& transition = *record.transition;
  if (transition.stage == model::Stage::kReturning) {
    Count("stage: returning");
    planned_from_uid_.clear();
  }
  if (transition.id == seen_transition_) return;
  seen_transition_ = transition.id;
  Count("reason: " + transition.reason);
  planned_from_uid_ = transition.planned ? transition.from_uid : "";
  planned_from_run_ = transition.from_run_id;
  if (!RestsOnSilence(transition.reason)) return;
  const Engine* old = engines_->AliveOfPod(transition.from_uid);
  if (old != nullptr && healthy_uid_ == transition.from_uid &&
      world_->Now() - healthy_since_ > kHealthyForMs) {
    Violate("S8", old->Describe() + " was replaced (" + transition.reason +
                      "), although all its replicas heard it");
  }
  const auto& last = record.last_failover;
  if (!last || last->automatic_wall_ms == 0) return;
  const std::int64_t since_ms = transition.started_wall_ms - last->automatic_wall_ms;
  if (since_ms >= 0 && since_ms < kCoolDownMs) {
    Violate("L3", "a failover on silence " + std::to_string(since_ms) +
                      " ms after the last automatic one");
  }
}

void Checker::CheckNothingLost(const Engine& promoted) {
  if (planned_from_uid_.empty()) return;
  const Engine* from = engines_->AliveOfPod(planned_from_uid_);
  if (from == nullptr || from->run_id() != planned_from_run_) return;
  Count("planned promotions beside a living old primary");
  if (!engines_->history().HasEveryWrite(promoted.head(), from->head())) {
    Violate("S5", "a planned change to " + promoted.Describe() + " loses writes of " +
                      from->Describe());
  }
}

}  // namespace regroup::sim
