// The render room: golden objects, the configuration, the users, and what a watch brings.
// REGROUP_REWRITE_GOLDEN=1 writes the files under golden/ anew; read the difference then.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>

#include "operator/render/acl.h"
#include "operator/render/objects.h"
#include "operator/render/observe_objects.h"

namespace regroup::render {
namespace {

model::Group SmallGroup() {
  model::Group group;
  group.meta = {"shop", "web-cache", "7c9e-uid", "12", 3, false, true, false, ""};
  group.spec.engine_version = "7.0";
  group.spec.cache_node_type = "cache.t4g.small";
  group.spec.replicas = 2;
  return group;
}

model::Group FullGroup() {
  model::Group group = SmallGroup();
  group.spec.engine = model::Engine::kValkey;
  group.spec.engine_version = "8.1";
  group.spec.port = 7000;
  group.spec.storage = model::Storage{"5Gi", "fast"};
  group.spec.parameters = {{"maxmemory-policy", "allkeys-lru"}, {"databases", "4"},
                           {"notify-keyspace-events", "K E\"A"}};
  group.spec.placement.node_selector = {{"disk", "ssd"}};
  group.spec.placement.tolerations = {{"dedicated", "Equal", "cache", "NoSchedule", std::nullopt},
                                      {"", "Exists", "", "", 30}};
  group.spec.placement.zone_topology_key = "rack";
  group.spec.placement.priority_class_name = "high";
  group.spec.failover.write_guard_lag_seconds = 4;
  return group;
}

model::Resolved SmallResolved() {
  model::Resolved resolved;
  resolved.image = "registry.example/redis:7.0";
  resolved.resources.requests = {{"cpu", "200m"}, {"memory", "1471026299"}};
  resolved.resources.limits = {{"memory", "1471026299"}};
  resolved.maxmemory_bytes = 1'103'269'724;
  return resolved;
}

GroupSecrets Secrets() { return {"op-secret", "watch-secret", "repl-secret", "user-secret"}; }

model::WriteSlice Slice() {
  return {model::SliceKind::kReader, 4, "31",
          {{"uid-2", "web-cache-002", "10.0.0.2", "node-2", "zone-b"},
           {"uid-3", "web-cache-003", "10.0.0.3", "", ""}}};
}

void CheckGolden(const std::string& name, const std::string& text) {
  const std::string path = "tests/unit/render/golden/" + name;
  if (std::getenv("REGROUP_REWRITE_GOLDEN") != nullptr) std::ofstream(path) << text;
  std::ifstream file(path);
  std::ostringstream stored;
  stored << file.rdbuf();
  EXPECT_EQ(stored.str(), text) << path << " (REGROUP_REWRITE_GOLDEN=1 writes it anew)";
}

TEST(Golden, Objects) {
  const model::Group small = SmallGroup();
  const model::Group full = FullGroup();
  const model::Resolved resolved = SmallResolved();
  const std::vector<std::pair<std::string, Json>> objects{
      {"pod", Pod(small, resolved, "web-cache-001", "zone-a")},
      {"pod_full", Pod(full, resolved, "web-cache-002", "")},
      {"secret", Secret(small, Secrets())},
      {"config_map", ConfigMap(small, resolved)},
      {"service_primary", Service(small, model::SliceKind::kPrimary)},
      {"service_reader", Service(full, model::SliceKind::kReader)},
      {"budget_primary", PodDisruptionBudget(small, BudgetKind::kPrimary)},
      {"budget_replica", PodDisruptionBudget(small, BudgetKind::kReplica)},
      {"volume", Volume(full, "web-cache-002")},
      {"endpoint_slice", EndpointSlice(small, Slice())},
      {"event", Event(small, {true, "FailoverCompleted", "It was."}, 1'764'000'037'083, "op-0",
                      7)}};
  for (const auto& [name, object] : objects) {
    SCOPED_TRACE(name);
    CheckGolden(name + ".json", object.dump(2) + "\n");
  }
}

TEST(Golden, Texts) {
  CheckGolden("redis.conf", RedisConf(SmallGroup(), SmallResolved()));
  CheckGolden("valkey_full.conf", RedisConf(FullGroup(), SmallResolved()));
  CheckGolden("users.acl", AclFile(model::Engine::kRedis, Secrets()));
}

TEST(Objects, TheSameInputGivesTheSameBytes) {
  EXPECT_EQ(Pod(FullGroup(), SmallResolved(), "a", "z").dump(),
            Pod(FullGroup(), SmallResolved(), "a", "z").dump());
}

TEST(Objects, AllButVolumesHaveAControllerOfOurUid) {
  const model::Group group = SmallGroup();
  for (const Json& object :
       {Pod(group, SmallResolved(), "a", ""), Secret(group, Secrets()),
        ConfigMap(group, SmallResolved()), Service(group, model::SliceKind::kPrimary),
        PodDisruptionBudget(group, BudgetKind::kPrimary), EndpointSlice(group, Slice())}) {
    SCOPED_TRACE(Str(Child(object, "kind")));
    const OwnedObject owned = ParseOwned(object);
    EXPECT_EQ(owned.controller_uid, "7c9e-uid");
    EXPECT_EQ(owned.group_uid, "7c9e-uid");
    EXPECT_EQ(GroupKeyOf(object), "shop/web-cache");
  }
  EXPECT_EQ(ParseOwned(Volume(group, "a")).controller_uid, "") << "data outlives its group";
  EXPECT_EQ(ParseOwned(Volume(group, "a")).group_uid, "7c9e-uid");
}

TEST(Services, HaveNoSelector) {
  for (const auto kind : {model::SliceKind::kPrimary, model::SliceKind::kReader}) {
    EXPECT_FALSE(Service(SmallGroup(), kind)["spec"].contains("selector"));
  }
}

TEST(Pod, ConformsToRestrictedPodSecurity) {
  const Json pod = Pod(FullGroup(), SmallResolved(), "web-cache-001", "zone-a");
  const Json& spec = pod["spec"];
  EXPECT_EQ(spec["securityContext"]["runAsNonRoot"], true);
  EXPECT_EQ(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
  EXPECT_NE(spec["securityContext"]["runAsUser"], 0);
  EXPECT_EQ(spec["automountServiceAccountToken"], false);
  for (const char* field : {"hostNetwork", "hostPID", "hostIPC"}) {
    EXPECT_FALSE(spec.contains(field)) << field;
  }
  for (const Json& container : spec["containers"]) {
    EXPECT_EQ(container["securityContext"]["allowPrivilegeEscalation"], false);
    EXPECT_EQ(container["securityContext"]["readOnlyRootFilesystem"], true);
    EXPECT_EQ(container["securityContext"]["capabilities"]["drop"], Json::array({"ALL"}));
    EXPECT_FALSE(container["securityContext"].contains("privileged"));
  }
  const std::set<std::string> allowed{"name", "configMap", "secret", "emptyDir",
                                      "persistentVolumeClaim"};
  for (const Json& volume : spec["volumes"]) {
    for (const auto& [key, value] : volume.items()) EXPECT_EQ(allowed.count(key), 1U) << key;
  }
}

TEST(Pod, HoldsNoSecretAndNoProbeOfTheEngine) {
  const Json pod = Pod(SmallGroup(), SmallResolved(), "web-cache-001", "zone-a");
  const std::string text = pod.dump();
  for (const std::string& secret : {Secrets().operator_password, Secrets().watch_password,
                                    Secrets().replication_password, Secrets().default_password}) {
    EXPECT_EQ(text.find(secret), std::string::npos);
  }
  const Json& container = pod["spec"]["containers"][0];
  EXPECT_FALSE(container.contains("env") || container.contains("args"));
  EXPECT_FALSE(container.contains("livenessProbe")) << "rule quiet";
  EXPECT_TRUE(container["readinessProbe"].contains("tcpSocket"));
  EXPECT_EQ(container["command"], Json::array({"redis-server", "/etc/regroup/redis.conf"}))
      << "the engine is PID 1";
}

TEST(ConfigMap, HoldsNoSecret) {
  const std::string text = ConfigMap(SmallGroup(), SmallResolved()).dump();
  EXPECT_EQ(text.find("secret\""), std::string::npos);
  EXPECT_EQ(text.find("masterauth"), std::string::npos);
}

TEST(RedisConf, BornFenced) {
  for (const model::Group& group : {SmallGroup(), FullGroup()}) {
    const std::string conf = RedisConf(group, SmallResolved());
    for (const char* line : {"\nreplicaof 127.0.0.1 1\n", "\nreplica-serve-stale-data no\n",
                             "\nreplica-read-only yes\n", "\nhz 10\n", "\ndynamic-hz no\n",
                             "\nmin-replicas-to-write 0\n", "\nrepl-ping-replica-period 1\n",
                             "\nrepl-backlog-ttl 0\n", "\nshutdown-timeout 0\n"}) {
      EXPECT_NE(conf.find(line), std::string::npos) << line;
    }
  }
  EXPECT_NE(RedisConf(FullGroup(), SmallResolved()).find("\nmin-replicas-max-lag 4\n"),
            std::string::npos);
}

TEST(RedisConf, AParameterCannotLeaveItsLine) {
  model::Group group = SmallGroup();
  group.spec.parameters["databases"] = "4\nreplicaof evil 6379";
  const std::string conf = RedisConf(group, SmallResolved());
  EXPECT_EQ(conf.find("\nreplicaof evil"), std::string::npos);
  EXPECT_NE(conf.find("databases \"4\\x0areplicaof evil 6379\"\n"),
            std::string::npos);
}

TEST(RedisConf, WhatCanChangeLive) {
  const auto live = LiveParameters(FullGroup(), SmallResolved());
  EXPECT_EQ(live.at("maxmemory"), "1103269724");
  EXPECT_EQ(live.at("maxmemory-policy"), "allkeys-lru");
  EXPECT_EQ(live.at("min-replicas-max-lag"), "4");
  EXPECT_EQ(live.at("lua-time-limit"), "2500") << "BUSY before unresponsiveAfter is over";
  EXPECT_EQ(live.count("databases"), 0U) << "needs a restart";
  EXPECT_EQ(BornWith(FullGroup(), SmallResolved()).at("databases"), "4");
  EXPECT_EQ(LiveParameters(SmallGroup(), SmallResolved()).at("maxmemory-policy"), "volatile-lru");
}

// ElastiCache's list of restricted commands, no more and no less.
TEST(Acl, WhatTheDefaultUserLacks) {
  const std::set<std::string> restricted{
      "acl|setuser", "acl|load", "acl|save", "acl|deluser", "bgrewriteaof", "bgsave", "save",
      "config", "debug", "migrate", "psync", "sync", "replicaof", "slaveof", "shutdown",
      "cluster|addslots", "cluster|addslotsrange", "cluster|delslots", "cluster|delslotsrange",
      "cluster|bumpepoch", "cluster|failover", "cluster|flushslots", "cluster|forget",
      "cluster|links", "cluster|meet", "cluster|setslot"};
  std::set<std::string> refused;
  std::set<std::string> granted;
  for (const std::string& rule : DefaultUserRules(model::Engine::kRedis, Secrets())) {
    if (rule[0] == '-') refused.insert(rule.substr(1));
    if (rule[0] == '+') granted.insert(rule);
  }
  EXPECT_EQ(refused, restricted);
  EXPECT_EQ(granted, std::set<std::string>{"+@all"});
  for (const char* command : {"info", "role", "keys", "flushall"}) {
    EXPECT_EQ(refused.count(command), 0U) << command;
  }
}

TEST(Acl, PasswordsAreHashes) {
  const std::string file = AclFile(model::Engine::kRedis, Secrets());
  EXPECT_EQ(file.find("-secret"), std::string::npos);
  EXPECT_EQ(file.find("nopass"), std::string::npos);
  EXPECT_NE(file.find("#" + Sha256Hex("op-secret")), std::string::npos);
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  GroupSecrets open = Secrets();
  open.default_password.clear();
  EXPECT_NE(AclFile(model::Engine::kRedis, open).find("user default on nopass"),
            std::string::npos);
}

TEST(Acl, TheWatchingUserChangesNothing) {
  EXPECT_EQ(WatchUserRules(Secrets()).size(), 7U);
  const auto rules = WatchUserRules(Secrets());
  EXPECT_EQ(std::set<std::string>(rules.begin() + 3, rules.end()),
            (std::set<std::string>{"-@all", "+auth", "+ping", "+info"}));
}

TEST(Secret, SurvivesARoundTrip) {
  const Json secret = Secret(SmallGroup(), Secrets());
  const GroupSecrets read = ParseSecret(secret);
  EXPECT_EQ(read.operator_password, "op-secret");
  EXPECT_EQ(read.watch_password, "watch-secret");
  EXPECT_EQ(read.replication_password, "repl-secret");
  EXPECT_EQ(SecretValue(secret, "users.acl"), AclFile(model::Engine::kRedis, Secrets()));
  EXPECT_EQ(SecretValue(secret, "absent"), "");
  EXPECT_EQ(ParseSecret(Json()).operator_password, "");
}

TEST(Hash, SeesEveryChangeButItself) {
  const Json rendered = ConfigMap(SmallGroup(), SmallResolved());
  EXPECT_EQ(HashOf(rendered), Str(rendered["metadata"]["annotations"][kHashAnnotation]));
  model::Group changed = SmallGroup();
  changed.spec.port = 7001;
  EXPECT_NE(HashOf(ConfigMap(changed, SmallResolved())), HashOf(rendered));
}

TEST(StateOf, Rows) {
  const Json rendered = ConfigMap(SmallGroup(), SmallResolved());
  OwnedObject stored = ParseOwned(rendered);
  const auto state = [&](const OwnedObject* object) {
    return static_cast<int>(StateOf(object, FingerprintOf(rendered), "7c9e-uid"));
  };
  EXPECT_EQ(state(nullptr), static_cast<int>(model::OwnedState::kAbsent));
  EXPECT_EQ(state(&stored), static_cast<int>(model::OwnedState::kCurrent));
  Json edited = rendered;  // by a human, who leaves the annotation as it was
  edited["data"]["redis.conf"] = "appendonly no";
  const OwnedObject of_human = ParseOwned(edited);
  EXPECT_EQ(state(&of_human), static_cast<int>(model::OwnedState::kOutdated));
  stored.fingerprint = "other";
  EXPECT_EQ(state(&stored), static_cast<int>(model::OwnedState::kOutdated));
  stored.controller_uid = "an earlier group of that name";
  EXPECT_EQ(state(&stored), static_cast<int>(model::OwnedState::kForeign));
}

TEST(ParseSlice, OfARenderedOne) {
  Json slice = EndpointSlice(SmallGroup(), Slice());
  slice["metadata"]["resourceVersion"] = "32";
  const model::SliceView view = ParseSlice(slice);
  EXPECT_TRUE(view.exists);
  EXPECT_EQ(view.epoch, 4);
  EXPECT_EQ(view.resource_version, "32");
  EXPECT_TRUE(view.endpoints == Slice().endpoints);
  EXPECT_EQ(ParseSlice(Json::object()).epoch, 0);
}

TEST(EndpointSlice, OfIpv6AndOfNobody) {
  model::WriteSlice write = Slice();
  write.endpoints = {{"u", "n", "fd00::2", "", ""}};
  EXPECT_EQ(EndpointSlice(SmallGroup(), write)["addressType"], "IPv6");
  write.endpoints.clear();
  EXPECT_EQ(EndpointSlice(SmallGroup(), write)["endpoints"], Json::array());
}

TEST(ParsePod, ARunningMember) {
  Json pod = Pod(SmallGroup(), SmallResolved(), "web-cache-001", "zone-a");
  pod["metadata"]["uid"] = "uid-1";
  pod["spec"]["nodeName"] = "node-1";
  pod["status"] = *ParseJson(R"({"phase": "Running", "podIP": "10.0.0.1",
    "conditions": [{"type": "Ready", "status": "True"}],
    "containerStatuses": [{"name": "engine", "containerID": "containerd://c2", "restartCount": 1,
      "state": {"running": {}},
      "lastState": {"terminated": {"containerID": "containerd://c1", "reason": "Error"}}}]})");
  const model::PodView view = ParsePod(pod);
  EXPECT_EQ(view.name + view.uid + view.ip + view.node + view.zone,
            "web-cache-001uid-110.0.0.1node-1zone-a");
  EXPECT_TRUE(view.ready && view.running && view.scheduled && !view.failed && !view.deleting);
  EXPECT_EQ(view.container_id, "containerd://c2");
  EXPECT_EQ(view.terminated_container_id, "containerd://c1");
  EXPECT_EQ(view.restart_count, 1);
  EXPECT_EQ(view.image, "registry.example/redis:7.0");
}

TEST(ParsePod, Troubles) {
  const model::PodView looping = ParsePod(*ParseJson(R"({"status": {"containerStatuses": [
    {"name": "engine", "containerID": "containerd://c1", "restartCount": 4,
     "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}}]}})"));
  EXPECT_EQ(looping.waiting_reason, "CrashLoopBackOff");
  EXPECT_FALSE(looping.running);
  const model::PodView ended = ParsePod(*ParseJson(R"({"metadata": {"deletionTimestamp": "x"},
    "status": {"phase": "Failed", "containerStatuses": [{"name": "engine",
      "containerID": "containerd://c2",
      "state": {"terminated": {"containerID": "containerd://c2", "reason": "Completed"}},
      "lastState": {"terminated": {"containerID": "containerd://c1", "reason": "Error"}}}]}})"));
  EXPECT_TRUE(ended.failed && ended.deleting);
  EXPECT_EQ(ended.terminated_container_id, "containerd://c2") << "the latest end counts";
  const model::PodView waiting = ParsePod(*ParseJson(R"({"status": {"conditions": [
    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}})"));
  EXPECT_TRUE(waiting.unschedulable && !waiting.scheduled);
  EXPECT_EQ(ParsePod(Json(7)).name, "");
}

TEST(Nodes, AsAGroupSeesThem) {
  struct Row {
    const char* name;
    std::function<void(Json&)> given;
    bool schedulable;
    bool out_of_service;
  };
  model::GroupSpec spec;
  spec.placement.node_selector = {{"disk", "ssd"}};
  spec.placement.tolerations = {{"dedicated", "Equal", "cache", "", std::nullopt}};
  const auto taint = [](Json& node, const char* key, const char* value, const char* effect) {
    node["spec"]["taints"] = {{{"key", key}, {"value", value}, {"effect", effect}}};
  };
  for (const Row& row : std::vector<Row>{
           {"open", [](Json&) {}, true, false},
           {"cordoned", [](Json& n) { n["spec"]["unschedulable"] = true; }, false, false},
           {"another disk", [](Json& n) { n["metadata"]["labels"]["disk"] = "hdd"; }, false,
            false},
           {"a tolerated taint", [&](Json& n) { taint(n, "dedicated", "cache", "NoSchedule"); },
            true, false},
           {"the same key, another value",
            [&](Json& n) { taint(n, "dedicated", "db", "NoSchedule"); }, false, false},
           {"a mere preference", [&](Json& n) { taint(n, "x", "", "PreferNoSchedule"); }, true,
            false},
           {"out of service",
            [&](Json& n) { taint(n, "node.kubernetes.io/out-of-service", "", "NoExecute"); },
            false, true}}) {
    SCOPED_TRACE(std::string("row: ") + row.name);
    Json node = *ParseJson(R"({"metadata": {"name": "n", "labels": {"disk": "ssd",
      "topology.kubernetes.io/zone": "zone-a"}},
      "status": {"conditions": [{"type": "Ready", "status": "True"}]}})");
    row.given(node);
    const model::NodeView view = ViewOf(ParseNode(node), spec);
    EXPECT_EQ(view.schedulable, row.schedulable);
    EXPECT_EQ(view.out_of_service, row.out_of_service);
    EXPECT_EQ(view.zone, "zone-a");
    EXPECT_TRUE(view.ready);
  }
}

TEST(Names, FitAndAreDeterministic) {
  model::GroupMeta meta = SmallGroup().meta;
  EXPECT_EQ(model::MemberName(meta, 1), "web-cache-001");
  EXPECT_EQ(VolumeName("web-cache-001"), "data-web-cache-001");
  EXPECT_EQ(ParseVolume(Volume(SmallGroup(), "web-cache-001")).member_name, "web-cache-001");
  meta.name = std::string(40, 'a');
  for (const std::string& name :
       {SecretName(meta), ConfigMapName(meta), PrimaryServiceName(meta), ReaderServiceName(meta),
        DisruptionBudgetName(meta, BudgetKind::kPrimary),
        VolumeName(model::MemberName(meta, 999))}) {
    EXPECT_LE(name.size(), 63U) << name;
  }
}

}  // namespace
}  // namespace regroup::render
