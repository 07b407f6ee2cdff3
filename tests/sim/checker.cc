#include "tests/sim/checker.h"

#include "operator/model/group_json.h"

namespace regroup::sim {
namespace {

// A thawed process reads its buffers, then waits for its next cron, before the guard holds again.
constexpr std::int64_t kAfterThawMs = 1100;
constexpr std::int64_t kTransferMs = 10'000;  // a full sync waits for a source that stands still

const kube::ObjectRef kGroupSecret{{"", "v1", "secrets", true}, "default", "web-cache-regroup"};

}  // namespace

Checker::Checker(World* world, Network* network, Engines* engines, ApiServer* server)
    : world_(world), network_(network), engines_(engines), server_(server) {
  engines_->AddObserver(this);
  server_->OnChange([this](const Change& change) { OnApiChange(change); });
  server_->OnOperatorDelete([this](const kube::ObjectRef& ref, const kube::Preconditions& by) {
    OnOperatorDelete(ref, by);
  });
  LookAtHealth();
}

void Checker::Violate(const std::string& rule, const std::string& text) {
  world_->Trace("VIOLATION " + rule + ": " + text);
  violations_.push_back({rule, text, world_->Now()});
}

void Checker::AfterEvent() {
  const Engine* first = nullptr;
  const Engine* second = nullptr;
  bool excused = false;
  for (const auto& engine : engines_->all()) {
    if (!engine->AcceptsWrites()) continue;
    second = first == nullptr ? nullptr : engine.get();
    if (first == nullptr) first = engine.get();
    const MonoMs thawed = engine->thawed_at();
    excused = excused || (thawed > 0 && world_->Now() - thawed <= kAfterThawMs);
    if (second != nullptr) break;
  }
  if (second == nullptr) {
    overlap_ = false;
    return;
  }
  if (overlap_) return;
  if (excused) return Count("note: writes after a thaw beside a new primary");
  overlap_ = true;
  Violate("S1", "two accept writes: " + first->Describe() + " and " + second->Describe());
}

bool Checker::Served() const {
  const Engine* writer = nullptr;
  for (const auto& engine : engines_->all()) {
    if (engine->AcceptsWrites()) writer = engine.get();
  }
  return writer != nullptr && slice_addresses_.size() == 1 &&
         slice_addresses_[0] == writer->address();
}

bool Checker::Whole(std::size_t members) const {
  if (!Served()) return false;
  const Engine* primary = nullptr;
  std::size_t alive = 0;
  std::size_t following = 0;
  for (const auto& engine : engines_->all()) {
    if (!engine->alive()) continue;
    ++alive;
    if (engine->is_primary()) primary = engine.get();
  }
  for (const auto& engine : engines_->all()) {
    if (!engine->alive() || engine->is_primary() || !engine->link_up()) continue;
    following += engine->repl_id() == primary->repl_id() ? 1 : 0;
  }
  return alive == members && following + 1 == members;
}

std::string Checker::Stalled() const {
  for (const Json& group : server_->Objects("replicationgroups")) {
    const Json& conditions = At(group, {"status", "conditions"});
    for (const Json& condition : conditions.is_array() ? conditions : Json::array()) {
      if (Str(Child(condition, "type")) == "Stalled") {
        return Str(Child(condition, "status")) == "True" ? Str(Child(condition, "reason")) : "";
      }
    }
  }
  return "";
}

std::string Checker::Picture() const {
  std::string text = "record: epoch " + std::to_string(epoch_) + " primary " + recorded_uid_;
  for (const Json& group : server_->Objects("replicationgroups")) {
    for (const Json& node_group : At(group, {"status", "nodeGroups"})) {
      text += "\n    lineage " + Child(node_group, "lineage").dump() + " inSync " +
              Child(node_group, "inSync").dump() + " suspects " +
              Child(node_group, "suspects").dump();
    }
    for (const Json& condition : At(group, {"status", "conditions"})) {
      text += "\n    " + Str(Child(condition, "type")) + " " + Str(Child(condition, "status")) +
              ": " + Str(Child(condition, "message"));
    }
  }
  for (const Json& pod : server_->Objects("pods")) {
    const Json& metadata = Child(pod, "metadata");
    const bool deleting = Child(metadata, "deletionTimestamp").is_string();
    text += "\n    pod " + Str(Child(metadata, "name")) + " " + Str(Child(metadata, "uid")) +
            " on " + Str(At(pod, {"spec", "nodeName"})) + (deleting ? ", deleting" : "");
  }
  for (const auto& engine : engines_->all()) {
    if (engine->alive()) text += "\n    " + engine->Describe() + " on " + engine->node();
  }
  return text;
}

bool Checker::Reachable(const Engine& engine) const {
  return engine.alive() && !engine.frozen() && network_->Whole();
}

// ---------------------------------------------------------------- data

void Checker::OnFullSync(const Engine& replica, int old_head, const Engine& source) {
  Count("full syncs");
  const History& history = engines_->history();
  const std::int64_t had = history.Writes(old_head);
  world_->Trace("full sync: " + replica.Describe() + " had " + std::to_string(had) +
                " writes, from " + source.Describe());
  if (had == 0) return;
  Count("full syncs over data");
  const bool is_recorded = source.pod_uid() == recorded_uid_ && source.run_id() == recorded_run_;
  // A transfer that began while it was the primary goes on after its fence.
  const bool was_recorded = source.pod_uid() == before_uid_ && source.run_id() == before_run_ &&
                            world_->Now() - before_until_ < kTransferMs;
  const bool recorded = is_recorded || was_recorded;
  if (!recorded) {
    Violate("S3", replica.name() + " held " + std::to_string(had) +
                      " writes and was synced from " + source.Describe() +
                      ", which is not the recorded primary");
  }
  if (source.writes() == 0) {
    Violate("S3", replica.name() + " held " + std::to_string(had) + " writes and was emptied by " +
                      source.Describe());
  }
  if (history.ReplicatedBeyond(old_head, source.head()) > 0) {
    Count("note: full syncs that dropped replicated writes");
  }
}

void Checker::OnPromoted(const Engine& engine) {
  Count("promotions");
  world_->Trace("promoted: " + engine.Describe());
  // Of a process whose pod object is gone nobody can tell by which pod it was made.
  const bool other_pod = engine.pod_uid() != recorded_uid_ && Stays(engine);
  if (engine.run_id() != recorded_run_ || other_pod) {
    Violate("S6", engine.Describe() + " of " + engine.pod_uid() +
                      " was promoted, but the record names " + recorded_uid_);
  }
  CheckNothingLost(engine);
  const History& history = engines_->history();
  for (const auto& other : engines_->all()) {
    if (other.get() == &engine || !other->alive() || other->writes() == 0) continue;
    if (engine.writes() == 0) {
      Violate("S3", engine.name() + " starts empty while " + other->Describe() + " holds data");
    } else if (Reachable(*other) && history.ReplicatedBeyond(other->head(), engine.head()) > 0) {
      Count("S4: promoted although a reachable member held more replicated writes");
      world_->Trace("S4: " + other->Describe() + " held more than " + engine.Describe());
    }
  }
}

void Checker::OnDeath(const Engine& engine) {
  world_->Trace("died: " + engine.Describe());
  if (!engine.is_primary()) return;
  Count("primary processes that died");
  primary_died_at_ = world_->Now();
}

// ---------------------------------------------------------------- the API

void Checker::OnApiChange(const Change& change) {
  if (change.resource == "replicationgroups" && change.type != "DELETED") {
    CheckRecord(change.object);
  }
  const std::string name = Str(At(change.object, {"metadata", "name"}));
  if (change.resource == "endpointslices" && change.type == "DELETED") slice_epochs_.erase(name);
  if (change.resource == "endpointslices" && change.type != "DELETED") CheckSlice(change.object);
  if (change.resource == "pods" && change.type == "ADDED") {
    const Json* secret = server_->Find(kGroupSecret);
    const std::string uid = Str(At(change.object, {"metadata", "uid"}));
    if (secret != nullptr) secrets_.emplace(uid, Child(*secret, "data"));
  }
}

void Checker::CheckRecord(const Json& object) {
  const model::Group group = model::ParseGroup(object);
  if (!group.has_record) return;
  const model::NodeGroupRecord& record = group.record;
  const std::string uid = record.primary ? record.primary->uid : "";
  if (group_uid_ != group.meta.uid) {  // a new group of that name begins from nothing
    group_uid_ = group.meta.uid;
    epoch_ = 0;
    epoch_uid_.clear();
    slice_epochs_.clear();
  }
  if (restores_ != server_->restores()) {
    restores_ = server_->restores();
    epoch_ = record.epoch;
    epoch_uid_.clear();
  }
  if (record.last_failover && record.last_failover != last_failover_) Count("failovers");
  last_failover_ = record.last_failover;
  if (record.epoch < epoch_) {
    Violate("S6", "the epoch fell from " + std::to_string(epoch_) + " to " +
                      std::to_string(record.epoch));
  }
  if (record.epoch == epoch_ && !epoch_uid_.empty() && !uid.empty() && uid != epoch_uid_) {
    Violate("S6", "epoch " + std::to_string(epoch_) + " has two primaries: " + epoch_uid_ +
                      " and " + uid);
  }
  if (record.epoch > epoch_ || epoch_uid_.empty()) epoch_uid_ = uid;
  if (record.epoch > epoch_) {
    Count("epochs");
    world_->Trace("record: epoch " + std::to_string(record.epoch) + " primary " +
                  (record.primary ? record.primary->name + " " + uid : "none"));
  }
  if (uid != recorded_uid_) {
    before_uid_ = recorded_uid_;
    before_run_ = recorded_run_;
    before_until_ = world_->Now();
  }
  CheckTransition(record);
  epoch_ = record.epoch;
  recorded_uid_ = uid;
  recorded_run_ = record.primary ? record.primary->run_id : "";
}

void Checker::CheckSlice(const Json& slice) {
  const std::string name = Str(At(slice, {"metadata", "name"}));
  CheckSliceEpoch(slice);
  if (name.find("primary") == std::string::npos) return;
  CheckPrimarySlice(slice);
  slice_addresses_.clear();
  const Json& endpoints = Child(slice, "endpoints");
  for (const Json& endpoint : endpoints.is_array() ? endpoints : Json::array()) {
    const Json& addresses = Child(endpoint, "addresses");
    if (addresses.is_array() && !addresses.empty()) slice_addresses_.push_back(Str(addresses[0]));
  }
  if (slice_addresses_.size() > 1) Violate("S1", "the primary's slice holds two endpoints");
}

}  // namespace regroup::sim
