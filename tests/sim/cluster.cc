#include "tests/sim/cluster.h"

#include <algorithm>
#include <sstream>

namespace regroup::sim {
namespace {

constexpr std::int64_t kRetryMs = 200;
constexpr std::int64_t kNodeLostMs = 40'000;  // node-monitor-grace-period
constexpr double kReuse = 0.5;  // of addresses that are free again
const kube::ResourceType kClaims{"", "v1", "persistentvolumeclaims", true};
const kube::ResourceType kOwned[] = {
    kPods,
    {"", "v1", "secrets", true},
    {"", "v1", "configmaps", true},
    {"", "v1", "services", true},
    kClaims,
    {"discovery.k8s.io", "v1", "endpointslices", true},
    {"policy", "v1", "poddisruptionbudgets", true}};
constexpr char kSelectedNode[] = "volume.kubernetes.io/selected-node";
constexpr char kZoneLabel[] = "topology.kubernetes.io/zone";

Json Condition(const std::string& type, const std::string& status, const std::string& reason) {
  return Json{{"type", type}, {"status", status}, {"reason", reason}};
}

}  // namespace

Cluster::Cluster(World* world, Network* network, Engines* engines, ApiServer* server,
                 ClusterOptions options)
    : world_(world), network_(network), engines_(engines), server_(server), options_(options) {
  engines_->AddObserver(this);
  engines_->SetOwnPasswords(options_.one_group);
  server_->OnChange([this](const Change& change) { OnApiChange(change); });
  server_->OnRestart([this] { OnApiRestart(); });
}

// Kubelets tell again how they are and what they run; a binding that the restored store does not
// have is repeated.
void Cluster::OnApiRestart() {
  known_lost_.clear();
  for (const auto& [uid, pod] : pods_) {
    const Json* object = server_->Find(RefOf(pod));
    if (object == nullptr || Str(At(*object, {"metadata", "uid"})) != uid) continue;
    (void)server_->MergePatch(RefOf(pod), "", Json{{"spec", {{"nodeName", pod.node}}}});
    Report(uid);
  }
}

void Cluster::AddNode(const std::string& name, const std::string& zone) {
  nodes_.push_back(name);
  zones_[name] = zone;
  (void)server_->Create(kNodes, "",
                        Json{{"metadata", {{"name", name}, {"labels", {{kZoneLabel, zone}}}}},
                             {"spec", Json::object()}});
  WatchNode(name);
}

// The node controller: a kubelet that has not been heard for a while makes the node Unknown.
void Cluster::WatchNode(const std::string& name) {
  const bool heard = network_->BothWays(name, "api");
  if (heard) silent_since_.erase(name);
  if (!heard) silent_since_.try_emplace(name, world_->Now());
  const bool api_up = !network_->IsCut("api");
  const bool lost = !heard && world_->Now() - silent_since_[name] > kNodeLostMs;
  const bool news = known_lost_.count(name) == 0 || known_lost_[name] != lost;
  if (api_up && (heard || lost) && news) {
    known_lost_[name] = lost;
    Json status{{"conditions", Json::array({Condition("Ready", lost ? "Unknown" : "True", "")})}};
    (void)server_->MergePatch({kNodes, "", name}, "status", Json{{"status", status}});
  }
  world_->After(1000, [this, name] { WatchNode(name); });
}

void Cluster::OnApiChange(const Change& change) {
  const Json& metadata = Child(change.object, "metadata");
  if (change.resource == kGroups.resource && change.type == "DELETED") {
    // Twice: what a late write makes after the first round goes in the second.
    for (const std::int64_t ms : {world_->Between(100, 2000), world_->Between(5000, 9000)}) {
      world_->After(ms, [this, owner = Str(Child(metadata, "uid"))] { CollectGarbage(owner); });
    }
  }
  if (change.resource != "pods") return;
  const std::string uid = Str(Child(metadata, "uid"));
  const std::string name_space = Str(Child(metadata, "namespace"));
  const std::string name = Str(Child(metadata, "name"));
  if (change.type == "ADDED") {
    world_->After(world_->Between(20, 200),
                  [this, name_space, name, uid] { Schedule(name_space, name, uid); });
    return;
  }
  if (pods_.count(uid) == 0) return;
  if (change.type == "DELETED") {
    world_->After(world_->Between(100, 2000), [this, uid] { Vanish(uid); });
  } else if (Child(metadata, "deletionTimestamp").is_string()) {
    world_->After(world_->Between(20, 200), [this, uid] { End(uid); });
  }
}

void Cluster::CollectGarbage(const std::string& owner_uid) {
  for (const kube::ResourceType& type : kOwned) {
    for (const Json& object : server_->Objects(type.resource)) {
      const Json& owners = At(object, {"metadata", "ownerReferences"});
      if (!owners.is_array() || owners.empty()) continue;
      if (Str(Child(owners[0], "uid")) != owner_uid) continue;
      const Json& metadata = Child(object, "metadata");
      const kube::ObjectRef ref{type, Str(Child(metadata, "namespace")),
                                Str(Child(metadata, "name"))};
      (void)server_->Delete(ref, {Str(Child(metadata, "uid")), ""}, -1);
    }
  }
}

std::string Cluster::ChooseNode(const Json& pod) const {
  const std::string zone = Str(At(pod, {"metadata", "annotations", "regroup.dev/zone"}));
  const std::string of_volume = ZoneOfVolume(pod);
  std::vector<std::string> fitting;
  for (const std::string& node : nodes_) {
    const auto object = server_->Get({kNodes, "", node});
    const Json& conditions = At(*object, {"status", "conditions"});
    const bool ready = conditions.is_array() && !conditions.empty() &&
                       Str(Child(conditions[0], "status")) == "True";
    if (Bool(At(*object, {"spec", "unschedulable"}))) continue;
    if (!of_volume.empty() && zones_.at(node) != of_volume) continue;
    if (ready && (zone.empty() || zones_.at(node) == zone)) fitting.push_back(node);
  }
  if (fitting.empty()) return "";
  return fitting[world_->rng().Below(fitting.size())];
}

void Cluster::Schedule(const std::string& name_space, const std::string& name,
                       const std::string& uid) {
  const kube::ObjectRef ref{kPods, name_space, name};
  const auto object = server_->Get(ref);
  if (!object || Str(At(*object, {"metadata", "uid"})) != uid) return;
  const auto known = pods_.find(uid);
  if (known != pods_.end()) {  // a store that was set back has it again; its kubelet has it still
    (void)server_->MergePatch(ref, "", Json{{"spec", {{"nodeName", known->second.node}}}});
    Report(uid);
    return;
  }
  const std::string node = network_->IsCut("api") ? "" : ChooseNode(*object);
  if (node.empty()) {
    const Json no = Condition("PodScheduled", "False", "Unschedulable");
    (void)server_->MergePatch(ref, "status",
                              Json{{"status", {{"conditions", Json::array({no})}}}});
    world_->After(1000, [=, this] { Schedule(name_space, name, uid); });
    return;
  }
  BindVolume(*object, node);
  Pod pod;
  pod.name_space = name_space;
  pod.name = name;
  pod.uid = uid;
  pod.node = node;
  pod.address = NewAddress(node);
  pods_[uid] = pod;
  world_->Trace("pod " + name + " " + uid + " is bound to " + node);
  (void)server_->MergePatch(ref, "", Json{{"spec", {{"nodeName", node}}}});
  Report(uid);
  world_->After(world_->Between(100, 700), [this, uid] { StartContainer(uid); });
  // One that a store that was set back has again may be on its way out.
  if (At(*object, {"metadata", "deletionTimestamp"}).is_string()) End(uid);
}

std::string Cluster::NewAddress(const std::string& node) {
  std::vector<std::string>& free = free_addresses_[node];
  if (free.empty() || !world_->Chance(kReuse)) {
    return "10.0.0." + std::to_string(next_address_++);
  }
  const std::string address = free.front();
  free.erase(free.begin());
  return address;
}

// Whoever is faster gets it: a later pod of this group, or one of another.
void Cluster::Free(const std::string& node, const std::string& address) {
  free_addresses_[node].push_back(address);
  if (!world_->Chance(strangers_)) return;
  world_->After(world_->Between(10, 1500), [this, node, address] {
    std::vector<std::string>& free = free_addresses_[node];
    const auto it = std::find(free.begin(), free.end(), address);
    if (it == free.end()) return;
    free.erase(it);
    world_->Trace("a stranger has " + address);
    engines_->StartStranger(address, options_.port, node);
    world_->After(world_->Between(1000, 40'000), [this, node, address] {
      engines_->EndStranger(address);
      free_addresses_[node].push_back(address);
    });
  });
}

void Cluster::PowerOff(const std::string& node) {
  dark_.insert(node);
  for (const auto& engine : engines_->all()) {
    if (engine->alive() && engine->node() == node) engine->Kill();
  }
}

// False while an object that the pod mounts is missing.
bool Cluster::ReadConfig(const Json& pod, EngineConfig* config) const {
  const Json& volumes = At(pod, {"spec", "volumes"});
  for (const Json& volume : volumes.is_array() ? volumes : Json::array()) {
    const std::string name_space = Str(At(pod, {"metadata", "namespace"}));
    const std::string secret = Str(At(volume, {"secret", "secretName"}));
    const kube::ResourceType secrets{"", "v1", "secrets", true};
    if (!secret.empty() && !server_->Get({secrets, name_space, secret})) return false;
    const std::string name = Str(At(volume, {"configMap", "name"}));
    if (name.empty()) continue;
    const auto map = server_->Get({{"", "v1", "configmaps", true}, name_space, name});
    if (!map) return false;
    config->born_fenced = false;
    for (const auto& [key, text] : Child(*map, "data").items()) {
      std::istringstream lines(Str(text));
      for (std::string line; std::getline(lines, line);) {
        std::string word;
        std::int64_t value = 0;
        std::istringstream words(line);
        if (line.rfind("replicaof 127.0.0.1 1", 0) == 0) config->born_fenced = true;
        if (!(words >> word >> value)) continue;
        if (word == "min-replicas-to-write") config->min_replicas_to_write = value;
        if (word == "min-replicas-max-lag") config->min_replicas_max_lag_s = value;
        if (word == "repl-timeout") config->repl_timeout_s = value;
        if (word == "lua-time-limit") config->busy_after_ms = value;
      }
    }
  }
  return true;
}

void Cluster::StartContainer(const std::string& uid) {
  const auto it = pods_.find(uid);
  if (it == pods_.end() || it->second.ending || it->second.engine != nullptr) return;
  Pod& pod = it->second;
  const auto object = server_->Get(RefOf(pod));
  EngineConfig config;
  const bool may = object && dark_.count(pod.node) == 0 &&
                   (pod.restarts > 0 || KubeletWorks(pod)) &&
                   !At(*object, {"metadata", "deletionTimestamp"}).is_string() &&
                   ReadConfig(*object, &config);
  if (!may) {
    world_->After(kRetryMs, [this, uid] { StartContainer(uid); });
    return;
  }
  if (!options_.born_fenced) config.born_fenced = false;
  pod.volume = VolumeOf(*object);
  if (!pod.volume.empty()) {
    const auto disk = disks_.find(pod.volume);
    config.disk = disk == disks_.end() ? History::kEmpty : disk->second;
    const std::int64_t most_ms = world_->Chance(0.2) ? 9000 : 400;
    if (config.disk != History::kEmpty) config.loading_ms = world_->Between(1, most_ms);
  }
  pod.container_id = "containerd://" + world_->NewId("c");
  pod.engine = engines_->Start(pod.uid, pod.name, pod.address, options_.port, pod.node, config);
  if (options_.following) pod.engine->StopFeeding();
  pod.started_wall_ms = world_->WallNow();
  pod.ready_at = world_->Now() + world_->Between(100, 900);
  world_->Trace("started " + pod.engine->Describe() + " on " + pod.node);
  Report(uid);
  world_->After(pod.ready_at - world_->Now() + 1, [this, uid] { Report(uid); });
}

void Cluster::OnDeath(const Engine& engine) {
  const auto it = pods_.find(engine.pod_uid());
  if (it == pods_.end() || it->second.engine != &engine) return;
  Pod& pod = it->second;
  const std::string uid = pod.uid;
  pod.engine = nullptr;
  if (!pod.volume.empty()) {  // an append-only file
    disks_[pod.volume] = dark_.count(pod.node) > 0 ? engine.synced_head() : engine.head();
  }
  pod.ended_container_id = pod.container_id;
  pod.ended_reason = world_->Chance(0.3) ? "OOMKilled" : "Error";
  Report(uid);
  if (pod.ending) return;
  // The kubelet restarts at once, then with a growing back-off (cut short, to keep runs short).
  ++pod.restarts;
  const std::int64_t back_off_ms = pod.restarts == 1 ? 0 : std::min(pod.restarts * 2000, 10'000);
  world_->After(back_off_ms + world_->Between(5, 1500), [this, uid] { StartContainer(uid); });
}

// A status is written some time after what it tells, and tells what is true when it is written.
void Cluster::Report(const std::string& uid) {
  const auto it = pods_.find(uid);
  if (it == pods_.end() || it->second.reporting) return;
  it->second.reporting = true;
  world_->After(world_->Between(20, 600), [this, uid] { WriteStatus(uid); });
}

void Cluster::WriteStatus(const std::string& uid) {
  const auto it = pods_.find(uid);
  if (it == pods_.end()) return;
  if (!KubeletWorks(it->second)) {
    world_->After(kRetryMs, [this, uid] { WriteStatus(uid); });
    return;
  }
  it->second.reporting = false;
  const auto object = server_->Get(RefOf(it->second));
  if (!object || Str(At(*object, {"metadata", "uid"})) != uid) return;
  Json next = *object;
  next["status"] = StatusOf(it->second);
  (void)server_->Replace(RefOf(it->second), "status", next);
}

Json Cluster::StatusOf(const Pod& pod) const {
  const bool running = pod.engine != nullptr;
  const bool ready = running && world_->Now() >= pod.ready_at;
  Json container{{"name", "engine"}, {"ready", ready}, {"restartCount", pod.restarts},
                 {"image", "image"}, {"containerID", pod.container_id}};
  const Json ended{{"containerID", pod.ended_container_id},
                   {"reason", pod.ended_reason},
                   {"exitCode", 137}};
  if (running) {
    container["state"] = {{"running", {{"startedAt", FormatRfc3339(pod.started_wall_ms)}}}};
    if (!pod.ended_container_id.empty()) container["lastState"] = {{"terminated", ended}};
  } else if (!pod.ended_container_id.empty()) {
    container["state"] = {{"terminated", ended}};
  } else {
    container["state"] = {{"waiting", {{"reason", "ContainerCreating"}}}};
  }
  const bool was_up = running || !pod.ended_container_id.empty();
  Json status{{"phase", was_up ? "Running" : "Pending"},
              {"conditions", Json::array({Condition("PodScheduled", "True", ""),
                                          Condition("Ready", ready ? "True" : "False", "")})},
              {"containerStatuses", Json::array({container})}};
  if (was_up) {
    status["podIP"] = pod.address;
    status["podIPs"] = Json::array({Json{{"ip", pod.address}}});
  }
  return status;
}

// The claim that the pod mounts; nullptr: it mounts none, or it is not there.
const Json* Cluster::ClaimOf(const Json& pod) const {
  const Json& volumes = At(pod, {"spec", "volumes"});
  for (const Json& volume : volumes.is_array() ? volumes : Json::array()) {
    const std::string claim = Str(At(volume, {"persistentVolumeClaim", "claimName"}));
    if (claim.empty()) continue;
    return server_->Find({kClaims, Str(At(pod, {"metadata", "namespace"})), claim});
  }
  return nullptr;
}

// A volume is made where its claim is first needed (WaitForFirstConsumer), and stays in that zone.
std::string Cluster::ZoneOfVolume(const Json& pod) const {
  const Json* claim = ClaimOf(pod);
  if (claim == nullptr) return "";
  const auto zone = zones_.find(Str(At(*claim, {"metadata", "annotations", kSelectedNode})));
  return zone == zones_.end() ? "" : zone->second;
}

void Cluster::BindVolume(const Json& pod, const std::string& node) {
  const Json* claim = ClaimOf(pod);
  if (claim == nullptr || Child(*claim, "status").is_object()) return;
  const kube::ObjectRef ref{kClaims, Str(At(*claim, {"metadata", "namespace"})),
                            Str(At(*claim, {"metadata", "name"}))};
  (void)server_->MergePatch(ref, "", {{"metadata", {{"annotations", {{kSelectedNode, node}}}}}});
  (void)server_->MergePatch(ref, "status", {{"status", {{"phase", "Bound"}}}});
}

// The UID of the claim that the pod mounts; empty: it mounts none. A claim of another group is data
// of another group (S9).
std::string Cluster::VolumeOf(const Json& pod) const {
  const Json* claim = ClaimOf(pod);
  if (claim == nullptr) return "";
  const auto group_of = [](const Json& one) {
    return Str(Child(At(one, {"metadata", "labels"}), "regroup.dev/group-uid"));
  };
  if (options_.on_foreign_volume && group_of(*claim) != group_of(pod)) {
    options_.on_foreign_volume(Str(At(pod, {"metadata", "name"})) + " mounts " +
                               Str(At(*claim, {"metadata", "name"})) +
                               ", which belongs to another group");
  }
  return Str(At(*claim, {"metadata", "uid"}));
}

// A deletionTimestamp: the preStop sleep, SIGTERM, up to 1.1 s for the replicas, then the pod goes.
void Cluster::End(const std::string& uid) {
  const auto it = pods_.find(uid);
  if (it == pods_.end() || it->second.ending) return;
  if (!KubeletWorks(it->second)) {
    world_->After(kRetryMs, [this, uid] { End(uid); });
    return;
  }
  it->second.ending = true;
  world_->After(HoldMs(it->second) + world_->Between(0, 1100), [this, uid] { Finish(uid); });
}

// How long the preStop sleep holds SIGTERM: not longer than the grace that was given.
std::int64_t Cluster::HoldMs(const Pod& pod) const {
  const auto object = server_->Get(RefOf(pod));
  if (!object) return 0;
  const Json& containers = At(*object, {"spec", "containers"});
  if (!containers.is_array() || containers.empty()) return 0;
  const std::int64_t sleep_s =
      Int(At(containers[0], {"lifecycle", "preStop", "sleep", "seconds"}));
  const std::int64_t grace_s = Int(At(*object, {"metadata", "deletionGracePeriodSeconds"}), 30);
  return 1000 * std::min(sleep_s, grace_s);
}

// The object is gone while its process runs (a forced delete): the kubelet ends it when it hears.
void Cluster::Vanish(const std::string& uid) {
  const auto it = pods_.find(uid);
  if (it == pods_.end()) return;
  if (!KubeletWorks(it->second)) {
    world_->After(kRetryMs, [this, uid] { Vanish(uid); });
    return;
  }
  const Json* object = server_->Find(RefOf(it->second));
  // A store that was set back may have it again.
  if (object != nullptr && Str(At(*object, {"metadata", "uid"})) == uid) return;
  it->second.ending = true;
  Finish(uid);
}

void Cluster::Finish(const std::string& uid) {
  const auto it = pods_.find(uid);
  if (it == pods_.end()) return;
  if (it->second.engine != nullptr) it->second.engine->Kill();
  world_->After(world_->Between(100, 900), [this, uid] {
    const auto found = pods_.find(uid);
    if (found == pods_.end()) return;
    const Pod pod = found->second;
    if (!KubeletWorks(pod)) return Finish(uid);
    // A store that was set back may have made it once more meanwhile.
    if (pod.engine != nullptr) pod.engine->Kill();
    engines_->SetAddressUp(pod.address, false);
    Free(pod.node, pod.address);
    world_->Trace("pod " + pod.name + " " + uid + " is gone");
    WriteStatus(uid);
    pods_.erase(uid);
    (void)server_->Delete(RefOf(pod), {uid, ""}, 0);
  });
}

}  // namespace regroup::sim
