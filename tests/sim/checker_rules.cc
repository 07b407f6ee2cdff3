// The oracles of single rules: what a record, a slice or a call of the operator must not say.
#include "operator/model/group_json.h"
#include "tests/sim/checker.h"

namespace regroup::sim {
namespace {

const kube::ResourceType kPodType{"", "v1", "pods", true};

constexpr std::int64_t kHealthEveryMs = 100;
// An operator's suspicion needs 1.5 s; who was well for so long before was not the one who failed.
constexpr std::int64_t kHealthyForMs = 10'000;
// A leader that was stopped in the middle of a round goes on with it up to 12 s later.
constexpr std::int64_t kDetachHealthyForMs = 15'000;
// Its last answer was up to a second before, and the order goes out a quarter of one ahead.
constexpr std::int64_t kUnresponsiveMs = 3'550;
constexpr std::int64_t kLastInstantWrites = 10;
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
  if (slice_restores_ != server_->restores()) {  // slices begin again from older ones, too
    slice_restores_ = server_->restores();
    slice_epochs_.clear();
  }
  std::int64_t& before = slice_epochs_[name];
  if (epoch < before) {
    Violate("endpoints", name + " went from epoch " + std::to_string(before) + " back to " +
                             std::to_string(epoch));
  }
  before = epoch;
}

// An old leader's write may still name the primary of an older epoch, but nobody's before its time.
void Checker::CheckPrimarySlice(const Json& slice) {
  const Json& annotations = At(slice, {"metadata", "annotations"});
  const std::string epoch = Str(Child(annotations, "regroup.dev/epoch"));
  const Json& endpoints = Child(slice, "endpoints");
  if (!endpoints.is_array() || endpoints.empty() || epoch != std::to_string(epoch_)) return;
  const std::string uid = Str(At(endpoints[0], {"targetRef", "uid"}));
  if (uid != recorded_uid_) {
    Violate("endpoints", "the primary's slice of epoch " + epoch + " names " + uid +
                             ", the record " + recorded_uid_);
  }
  for (const auto& engine : engines_->all()) {
    if (engine->run_id() != recorded_run_ || engine->was_primary()) continue;
    Violate("endpoints", "the primary's slice names " + engine->Describe() +
                             ", which was not promoted yet");
  }
}

void Checker::CheckEndpoints(const std::string& slice_name,
                             const std::vector<const Engine*>& wanted) {
  std::map<std::string, const Engine*> missing;
  for (const Engine* engine : wanted) missing[engine->pod_uid()] = engine;
  for (const Json& slice : server_->Objects("endpointslices")) {
    const std::string name = Str(At(slice, {"metadata", "name"}));
    if (name.find(slice_name) == std::string::npos) continue;
    const Json& endpoints = Child(slice, "endpoints");
    for (const Json& endpoint : endpoints.is_array() ? endpoints : Json::array()) {
      const auto found = missing.find(Str(At(endpoint, {"targetRef", "uid"})));
      const Json& addresses = Child(endpoint, "addresses");
      if (found == missing.end() || addresses.size() != 1 ||
          Str(addresses[0]) != found->second->address()) {
        Violate("endpoints", "at rest " + name + " holds " + endpoint.dump());
      } else if (Str(Child(endpoint, "nodeName")) != found->second->node() ||
                 Str(Child(endpoint, "zone")).empty()) {
        Violate("endpoints", name + " lacks a node or a zone: " + endpoint.dump());
      }
      if (found != missing.end()) missing.erase(found);
    }
  }
  for (const auto& [uid, engine] : missing) {
    Violate("endpoints", "at rest the " + slice_name + "'s slice lacks " + engine->Describe());
  }
}

// Disruption budgets count members by this label.
void Checker::CheckLabels() {
  for (const auto& engine : engines_->all()) {
    if (!engine->alive() || !Stays(*engine)) continue;
    const Json* pod = server_->Find({kPodType, "default", engine->name()});
    const std::string role = Str(Child(At(*pod, {"metadata", "labels"}), "regroup.dev/role"));
    const std::string wanted = engine->is_primary() ? "primary" : "replica";
    if (role == wanted) continue;
    Violate("labels", "at rest " + engine->Describe() + " bears the role '" + role + "'");
  }
}

// The members know the passwords that they were born with, and no others. A member's pod counts
// while its process is being started again, too.
bool Checker::SecretIsRight() const {
  const Json* secret =
      server_->Find({{"", "v1", "secrets", true}, "default", "web-cache-regroup"});
  for (const Json& pod : server_->Objects("pods")) {
    const auto born = secrets_.find(Str(At(pod, {"metadata", "uid"})));
    if (born == secrets_.end()) continue;
    if (secret == nullptr || Child(*secret, "data") != born->second) return false;
  }
  return true;
}

void Checker::OnOperatorStart() {
  if (SecretIsRight()) return;
  Count("note: an operator starts while the Secret is not the group's");
  secret_unknowable_ = true;
}

void Checker::CheckSecret() {
  if (SecretIsRight() || secret_unknowable_) return;
  Violate("secret", "at rest the Secret holds other passwords than the members were born with");
}

void Checker::CheckObjectsAtRest() {
  CheckLabels();
  CheckSecret();
  std::vector<const Engine*> primary;
  std::vector<const Engine*> readers;
  for (const auto& engine : engines_->all()) {
    if (!engine->alive()) continue;
    if (engine->is_primary()) primary.push_back(engine.get());
    else if (engine->link_up()) readers.push_back(engine.get());
  }
  CheckEndpoints("primary", primary);
  CheckEndpoints("reader", readers.empty() ? primary : readers);
}

// ---------------------------------------------------------------- deletes (S7)

void Checker::OnOperatorDelete(const kube::ObjectRef& ref,
                               const kube::Preconditions& preconditions) {
  Count("destructive calls");
  if (preconditions.uid.empty() || preconditions.resource_version.empty()) {
    Violate("S7", "the operator deletes " + ref.type.resource + "/" + ref.name +
                      " without saying which one");
  }
  if (ref.type.resource != "pods") return;
  CheckPatience(preconditions.uid);
  CheckLastHolder(preconditions.uid);
}

// Its pod is there, and nobody has deleted it.
bool Checker::Stays(const Engine& engine) const {
  const Json* pod = server_->Find({kPodType, "default", engine.name()});
  return pod != nullptr && Str(At(*pod, {"metadata", "uid"})) == engine.pod_uid() &&
         !At(*pod, {"metadata", "deletionTimestamp"}).is_string();
}

void Checker::CheckLastHolder(const std::string& uid) {
  const Engine* leaving = uid.empty() ? nullptr : engines_->AliveOfPod(uid);
  if (leaving == nullptr || leaving->writes() == 0) return;
  // What a living primary lacks was given up when it was granted, not by this removal.
  const Engine* primary = engines_->AliveOfPod(recorded_uid_);
  if (primary != nullptr && primary->is_primary() && primary != leaving) return;
  // Who is to go is fenced first, and then the primary must have answered once more: a death after
  // that is what an operator cannot have heard of.
  const bool just_died = primary_died_at_ > 0 && world_->Now() - primary_died_at_ < kJustDiedMs;
  if (just_died && leaving->fenced_at() < primary_died_at_) return;
  for (const Json& group : server_->Objects("replicationgroups")) {
    if (At(group, {"metadata", "deletionTimestamp"}).is_string()) return;
  }
  for (const auto& other : engines_->all()) {
    if (!other->alive() || other.get() == leaving || !Stays(*other)) continue;
    const std::int64_t lost = engines_->history().ReplicatedBeyond(leaving->head(), other->head());
    // A hung primary is ended for a candidate which may not have read its last instant.
    if (lost <= (leaving->frozen() && leaving->is_primary() ? kLastInstantWrites : 0)) return;
  }
  Violate("S7", "the operator removes the last holder of its writes: " + leaving->Describe());
}

// ---------------------------------------------------------------- changes of the primary

// Well: it runs, nobody has deleted its pod, and every member that follows it can be reached from
// its host.
void Checker::LookAtHealth() {
  world_->After(kHealthEveryMs, [this] { LookAtHealth(); });
  const Engine* primary = recorded_uid_.empty() ? nullptr : engines_->AliveOfPod(recorded_uid_);
  bool well = primary != nullptr && primary->is_primary() && !primary->frozen() &&
              primary->run_id() == recorded_run_ && Stays(*primary);
  for (const auto& other : engines_->all()) {
    if (!well || !other->alive() || other.get() == primary) continue;
    well = !other->frozen() && network_->BothWays(primary->node(), other->node());
  }
  if (!well || healthy_uid_ != recorded_uid_) healthy_since_ = world_->Now();
  healthy_uid_ = recorded_uid_;
}

void Checker::OnDetached(const Engine& replica, const Engine& source) {
  Count("replicas detached from a primary that they heard");
  const bool well = source.pod_uid() == recorded_uid_ && healthy_uid_ == recorded_uid_ &&
                    Stays(source) && world_->Now() - healthy_since_ > kDetachHealthyForMs;
  if (!well) return;
  Violate("S8", replica.Describe() + " was taken from " + source.Describe() +
                    ", which all its replicas heard");
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

// A script, even a long one, is no failure, and a process that stands still is one after 5 s.
void Checker::CheckPatience(const std::string& uid) {
  const Engine* primary = engines_->AliveOfPod(uid);
  if (primary == nullptr || uid != recorded_uid_ || !primary->frozen() || !Stays(*primary)) return;
  for (const Json& group : server_->Objects("replicationgroups")) {
    if (At(group, {"metadata", "deletionTimestamp"}).is_string()) return;
  }
  const std::int64_t still_ms = world_->Now() - primary->frozen_since();
  if (primary->in_script() || still_ms < kUnresponsiveMs) {
    Violate("S8", primary->Describe() + " is ended as hung after " + std::to_string(still_ms) +
                      " ms");
  }
  Count("hung primaries that were ended");
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
