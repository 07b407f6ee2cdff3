#include "operator/model/group_json.h"

#include "operator/model/validate.h"

namespace regroup::model {

namespace {

std::vector<std::string> Strings(const Json& list) {
  std::vector<std::string> out;
  if (!list.is_array()) return out;
  for (const Json& item : list) {
    if (item.is_string()) out.push_back(item.get<std::string>());
  }
  return out;
}

// Numbers and booleans are accepted as text, as YAML writers often leave the quotes out.
std::map<std::string, std::string> StringMap(const Json& object) {
  std::map<std::string, std::string> out;
  if (!object.is_object()) return out;
  for (const auto& [key, value] : object.items()) {
    if (value.is_string()) out[key] = value.get<std::string>();
    else if (value.is_boolean()) out[key] = value.get<bool>() ? "yes" : "no";
    else if (value.is_number()) out[key] = value.dump();
  }
  return out;
}

Placement ParsePlacement(const Json& json) {
  Placement placement;
  placement.node_selector = StringMap(Child(json, "nodeSelector"));
  const Json& tolerations = Child(json, "tolerations");
  if (tolerations.is_array()) {
    for (const Json& item : tolerations) {
      Toleration toleration{Str(Child(item, "key")), Str(Child(item, "operator"), "Equal"),
                            Str(Child(item, "value")), Str(Child(item, "effect")), std::nullopt};
      if (Child(item, "tolerationSeconds").is_number()) {
        toleration.toleration_seconds = Int(Child(item, "tolerationSeconds"));
      }
      placement.tolerations.push_back(toleration);
    }
  }
  placement.zone_topology_key =
      Str(Child(json, "zoneTopologyKey"), placement.zone_topology_key);
  placement.priority_class_name = Str(Child(json, "priorityClassName"));
  placement.zone_wait_seconds =
      static_cast<int>(Int(Child(json, "zoneWaitSeconds"), placement.zone_wait_seconds));
  return placement;
}

FailoverSpec ParseFailover(const Json& json) {
  FailoverSpec failover;
  if (Str(Child(json, "writeGuard")) == "Off") failover.write_guard = WriteGuardPolicy::kOff;
  auto number = [&](const char* key, int fallback) {
    return static_cast<int>(Int(Child(json, key), fallback));
  };
  failover.write_guard_lag_seconds =
      number("writeGuardLagSeconds", failover.write_guard_lag_seconds);
  failover.unreachable_after_ms = number("unreachableAfterMilliseconds",
                                         failover.unreachable_after_ms);
  failover.unresponsive_after_ms = number("unresponsiveAfterMilliseconds",
                                          failover.unresponsive_after_ms);
  failover.unproven_after_seconds = number("unprovenAfterSeconds",
                                           failover.unproven_after_seconds);
  failover.cool_down_seconds = number("coolDownSeconds", failover.cool_down_seconds);
  failover.test_failovers_per_day =
      number("testFailoversPerDay", failover.test_failovers_per_day);
  return failover;
}

GroupSpec ParseSpec(const Json& json, std::string* error) {
  GroupSpec spec;
  spec.description = Str(Child(json, "description"));
  const std::string engine = Str(Child(json, "engine"));
  if (engine != "redis" && engine != "valkey") {
    *error = "spec.engine '" + engine + "' is unknown; use redis or valkey.";
  }
  spec.engine = engine == "valkey" ? Engine::kValkey : Engine::kRedis;
  spec.engine_version = Str(Child(json, "engineVersion"));
  spec.cache_node_type = Str(Child(json, "cacheNodeType"));
  const Json& resources = Child(json, "resources");
  if (resources.is_object()) {
    spec.resources = Resources{StringMap(Child(resources, "requests")),
                               StringMap(Child(resources, "limits"))};
  }
  const Json& replicas = Child(json, "replicasPerNodeGroup");
  const Json& clusters = Child(json, "numCacheClusters");
  if (replicas.is_number() && clusters.is_number() && Int(replicas) + 1 != Int(clusters)) {
    *error = "spec.replicasPerNodeGroup and spec.numCacheClusters contradict each other; set one.";
  }
  spec.replicas = static_cast<int>(replicas.is_number() ? Int(replicas)
                                                        : Int(clusters, 1) - 1);
  spec.automatic_failover_enabled = Bool(Child(json, "automaticFailoverEnabled"));
  spec.multi_az_enabled = Bool(Child(json, "multiAZEnabled"));
  spec.preferred_cache_cluster_azs = Strings(Child(json, "preferredCacheClusterAZs"));
  spec.port = static_cast<int>(Int(Child(json, "port"), spec.port));
  spec.parameters = StringMap(Child(json, "parameters"));
  const Json& storage = Child(json, "storage");
  if (storage.is_object()) {
    spec.storage = Storage{Str(Child(storage, "size")), Str(Child(storage, "storageClassName"))};
  }
  spec.failover = ParseFailover(Child(json, "failover"));
  spec.placement = ParsePlacement(Child(json, "placement"));
  const Json& auth = Child(json, "authSecretRef");
  if (auth.is_object()) {
    spec.auth_secret_ref = SecretKeyRef{Str(Child(auth, "name")),
                                        Str(Child(auth, "key"), "password")};
  }
  spec.primary_cluster_id = Str(Child(json, "primaryClusterID"));
  spec.paused = Bool(Child(json, "paused"));
  if (Str(Child(json, "deletionPolicy")) == "Delete") {
    spec.deletion_policy = DeletionPolicy::kDelete;
  }
  return spec;
}

Stage ParseStage(const std::string& text) {
  if (text == "promoting") return Stage::kPromoting;
  if (text == "switching") return Stage::kSwitching;
  if (text == "returning") return Stage::kReturning;
  return Stage::kNone;
}

std::string StageText(Stage stage) {
  switch (stage) {
    case Stage::kPromoting: return "promoting";
    case Stage::kSwitching: return "switching";
    case Stage::kReturning: return "returning";
    case Stage::kNone: break;
  }
  return "none";
}

// 0 where there is none.
WallMs WallOf(const Json& text) {
  return text.is_string() ? ParseRfc3339(text.get<std::string>()) : 0;
}

void ParseHistory(const Json& json, NodeGroupRecord& record) {
  const Json& transition = Child(json, "transition");
  if (transition.is_object()) {
    record.transition = Transition{
        Str(Child(transition, "id")),        Str(Child(transition, "fromUID")),
        Str(Child(transition, "fromName")),  Str(Child(transition, "fromRunID")),
        Str(Child(transition, "fromContainerID")), Str(Child(transition, "toUID")),
        Str(Child(transition, "toName")),    Str(Child(transition, "reason")),
        ParseStage(Str(Child(transition, "stage"))),
        ParseRfc3339(Str(Child(transition, "startedAt"))),
        Int(Child(transition, "lostBytesMax"), -1),
        Int(Child(transition, "detectMilliseconds"), -1),
        Bool(Child(transition, "planned"))};
  }
  const Json& last = Child(json, "lastFailover");
  if (last.is_object()) {
    record.last_failover = LastFailover{
        Str(Child(last, "id")), Str(Child(last, "from")), Str(Child(last, "to")),
        Str(Child(last, "reason")), ParseRfc3339(Str(Child(last, "finishedAt"))),
        Int(Child(last, "durationMilliseconds")), Int(Child(last, "lostBytesMax"), -1),
        Int(Child(last, "detectMilliseconds"), -1), Int(Child(last, "promoteMilliseconds"), -1),
        Int(Child(last, "endpointMilliseconds"), -1), Bool(Child(last, "planned")),
        Bool(Child(last, "recovered")), static_cast<int>(Int(Child(last, "streak"))),
        WallOf(Child(last, "lastAutomaticAt"))};
  }
}

void ParseTests(const Json& json, NodeGroupRecord& record) {
  const Json& test = Child(json, "testFailover");
  if (test.is_object()) {
    record.test_failover = TestFailover{
        Str(Child(test, "id")), Str(Child(test, "state")), Str(Child(test, "message")),
        Str(Child(test, "from")), Str(Child(test, "fromRunID")), Str(Child(test, "to")),
        Str(Child(test, "reason")), WallOf(Child(test, "startedAt")),
        Int(Child(test, "durationMilliseconds"), -1), Int(Child(test, "lostBytesMax"), -1)};
  }
  for (const std::string& text : Strings(Child(json, "testFailoverTimes"))) {
    record.test_failovers.push_back(ParseRfc3339(text));
  }
}

NodeGroupRecord ParseRecord(const Json& json) {
  NodeGroupRecord record;
  record.node_group_id = Str(Child(json, "nodeGroupID"), "0001");
  record.epoch = Int(Child(json, "epoch"));
  const Json& primary = Child(json, "primary");
  if (primary.is_object()) {
    record.primary = PrimaryRef{Str(Child(primary, "uid")), Str(Child(primary, "name")),
                                Str(Child(primary, "runID")), Str(Child(primary, "containerID")),
                                Str(Child(primary, "address")), Str(Child(primary, "node"))};
  }
  const Json& lineage = Child(json, "lineage");
  if (lineage.is_array()) {
    for (const Json& item : lineage) {
      record.lineage.push_back({Str(Child(item, "replID")), Int(Child(item, "upTo"), -1)});
    }
  }
  record.write_guard = Bool(Child(json, "writeGuard"));
  record.guard_lag_seconds = static_cast<int>(Int(Child(json, "guardLagSeconds")));
  const Json& in_sync = Child(json, "inSync");
  if (in_sync.is_array()) {
    for (const Json& item : in_sync) {
      record.in_sync.push_back({Str(Child(item, "uid")), Str(Child(item, "runID"))});
    }
  }
  record.members = Strings(Child(json, "members"));
  record.suspects = Strings(Child(json, "suspects"));
  ParseHistory(json, record);
  ParseTests(json, record);
  return record;
}

Condition ParseCondition(const Json& json) {
  Condition condition;
  condition.type = Str(Child(json, "type"));
  const std::string status = Str(Child(json, "status"));
  condition.status = status == "True"    ? ConditionStatus::kTrue
                     : status == "False" ? ConditionStatus::kFalse
                                         : ConditionStatus::kUnknown;
  condition.reason = Str(Child(json, "reason"));
  condition.message = Str(Child(json, "message"));
  condition.observed_generation = Int(Child(json, "observedGeneration"));
  condition.last_transition_wall_ms = ParseRfc3339(Str(Child(json, "lastTransitionTime")));
  return condition;
}

GroupView ParseView(const Json& status) {
  GroupView view;
  view.observed_generation = Int(Child(status, "observedGeneration"));
  view.status = Str(Child(status, "status"));
  const Json& conditions = Child(status, "conditions");
  if (conditions.is_array()) {
    for (const Json& item : conditions) view.conditions.push_back(ParseCondition(item));
  }
  const Json& groups = Child(status, "nodeGroups");
  const Json& group = groups.is_array() && !groups.empty() ? groups.front() : Json();
  const Json& members = Child(group, "nodeGroupMembers");
  if (members.is_array()) {
    for (const Json& item : members) {
      view.members.push_back({Str(Child(item, "cacheClusterID")), Str(Child(item, "uid")),
                              Str(Child(item, "preferredAvailabilityZone")),
                              Str(Child(item, "node")), Str(Child(item, "currentRole")),
                              Str(Child(item, "status")),
                              Str(At(item, {"readEndpoint", "address"}))});
    }
  }
  view.primary_endpoint = Str(At(group, {"primaryEndpoint", "address"}));
  view.reader_endpoint = Str(At(group, {"readerEndpoint", "address"}));
  view.port = static_cast<int>(Int(At(group, {"primaryEndpoint", "port"})));
  view.replicas = static_cast<int>(Int(Child(status, "replicas")));
  view.selector = Str(Child(status, "selector"));
  view.pending_restart_parameters = Strings(Child(status, "pendingRestartParameters"));
  view.engine_version_actual = Str(Child(status, "engineVersionActual"));
  return view;
}

const char* StatusText(ConditionStatus status) {
  return status == ConditionStatus::kTrue    ? "True"
         : status == ConditionStatus::kFalse ? "False"
                                             : "Unknown";
}

void RenderHistory(const NodeGroupRecord& record, Json& json) {
  if (record.transition) {
    const Transition& t = *record.transition;
    json["transition"] = {{"id", t.id}, {"fromUID", t.from_uid}, {"fromName", t.from_name},
                          {"fromRunID", t.from_run_id}, {"fromContainerID", t.from_container_id},
                          {"toUID", t.to_uid}, {"toName", t.to_name}, {"reason", t.reason},
                          {"stage", StageText(t.stage)},
                          {"startedAt", FormatRfc3339Micro(t.started_wall_ms)},
                          {"lostBytesMax", t.lost_bytes_max},
                          {"detectMilliseconds", t.detect_ms}, {"planned", t.planned}};
  }
  if (record.last_failover) {
    const LastFailover& f = *record.last_failover;
    Json& last = json["lastFailover"];
    last = {{"id", f.id}, {"from", f.from_name}, {"to", f.to_name}, {"reason", f.reason},
            {"finishedAt", FormatRfc3339Micro(f.finished_wall_ms)},
            {"durationMilliseconds", f.duration_ms}, {"lostBytesMax", f.lost_bytes_max},
            {"detectMilliseconds", f.detect_ms}, {"promoteMilliseconds", f.promote_ms},
            {"endpointMilliseconds", f.endpoint_ms}, {"planned", f.planned},
            {"recovered", f.recovered}, {"streak", f.streak}};
    if (f.automatic_wall_ms > 0) last["lastAutomaticAt"] = FormatRfc3339Micro(f.automatic_wall_ms);
  }
  if (record.test_failover) {
    const TestFailover& t = *record.test_failover;
    json["testFailover"] = {{"id", t.id}, {"state", t.state}, {"message", t.message},
                            {"from", t.from_name}, {"fromRunID", t.from_run_id},
                            {"to", t.to_name}, {"reason", t.reason},
                            {"startedAt", FormatRfc3339Micro(t.started_wall_ms)},
                            {"durationMilliseconds", t.duration_ms},
                            {"lostBytesMax", t.lost_bytes_max}};
  }
  for (const WallMs at : record.test_failovers) {
    json["testFailoverTimes"].push_back(FormatRfc3339Micro(at));
  }
}

Json RenderRecord(const NodeGroupRecord& record) {
  Json json;
  json["nodeGroupID"] = record.node_group_id;
  json["epoch"] = record.epoch;
  if (record.primary) {
    json["primary"] = {{"uid", record.primary->uid}, {"name", record.primary->name},
                       {"runID", record.primary->run_id},
                       {"containerID", record.primary->container_id},
                       {"address", record.primary->address}, {"node", record.primary->node}};
  }
  json["lineage"] = Json::array();
  for (const Lineage& item : record.lineage) {
    json["lineage"].push_back({{"replID", item.repl_id}, {"upTo", item.up_to}});
  }
  json["writeGuard"] = record.write_guard;
  json["guardLagSeconds"] = record.guard_lag_seconds;
  json["inSync"] = Json::array();
  for (const MemberRef& item : record.in_sync) {
    json["inSync"].push_back({{"uid", item.uid}, {"runID", item.run_id}});
  }
  json["members"] = record.members;
  json["suspects"] = record.suspects;
  RenderHistory(record, json);
  return json;
}

void RenderMembers(const GroupView& view, Json& group) {
  group["nodeGroupMembers"] = Json::array();
  for (const MemberStatus& member : view.members) {
    Json json{{"cacheClusterID", member.name}, {"uid", member.uid},
              {"currentRole", member.current_role}, {"status", member.status},
              {"preferredAvailabilityZone", member.zone}, {"node", member.node}};
    json["readEndpoint"] = {{"address", member.address}, {"port", view.port}};
    group["nodeGroupMembers"].push_back(json);
  }
}

}  // namespace

Group ParseGroup(const Json& object) {
  Group group;
  const Json& meta = Child(object, "metadata");
  group.meta.namespace_name = Str(Child(meta, "namespace"));
  group.meta.name = Str(Child(meta, "name"));
  group.meta.uid = Str(Child(meta, "uid"));
  group.meta.resource_version = Str(Child(meta, "resourceVersion"));
  group.meta.generation = Int(Child(meta, "generation"));
  group.meta.deleting = Child(meta, "deletionTimestamp").is_string();
  for (const std::string& name : Strings(Child(meta, "finalizers"))) {
    group.meta.has_finalizer = group.meta.has_finalizer || name == kFinalizer;
  }
  group.meta.forget_requested = Child(Child(meta, "annotations"), kForgetAnnotation).is_string();
  group.meta.test_failover_id = Str(Child(Child(meta, "annotations"), kTestFailoverAnnotation));
  group.spec = ParseSpec(Child(object, "spec"), &group.spec_error);
  const Json& status = Child(object, "status");
  group.view = ParseView(status);
  const Json& groups = Child(status, "nodeGroups");
  if (groups.is_array() && !groups.empty()) {
    group.record = ParseRecord(groups.front());
    group.has_record = group.record.epoch > 0;
  }
  if (group.spec_error.empty()) {
    Result<void> valid = ValidateSpec(group.meta, group.spec);
    if (valid) valid = ValidateChange(group.view, group.spec);
    if (!valid) group.spec_error = valid.error().message;
  }
  return group;
}

Json RenderStatus(const GroupView& view, const NodeGroupRecord& record) {
  Json status;
  status["observedGeneration"] = view.observed_generation;
  status["status"] = view.status;
  status["replicas"] = view.replicas;
  status["selector"] = view.selector;
  status["engineVersionActual"] = view.engine_version_actual;
  status["pendingRestartParameters"] = view.pending_restart_parameters;
  status["conditions"] = Json::array();
  for (const Condition& condition : view.conditions) {
    status["conditions"].push_back(
        {{"type", condition.type}, {"status", StatusText(condition.status)},
         {"reason", condition.reason}, {"message", condition.message},
         {"observedGeneration", condition.observed_generation},
         {"lastTransitionTime", FormatRfc3339(condition.last_transition_wall_ms)}});
  }
  Json group = RenderRecord(record);
  group["status"] = view.status;
  group["primaryEndpoint"] = {{"address", view.primary_endpoint}, {"port", view.port}};
  group["readerEndpoint"] = {{"address", view.reader_endpoint}, {"port", view.port}};
  RenderMembers(view, group);
  status["nodeGroups"] = Json::array({group});
  return status;
}

}  // namespace regroup::model
