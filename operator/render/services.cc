#include <algorithm>

#include "operator/base/base64.h"
#include "operator/model/group_json.h"
#include "operator/model/parameters.h"
#include "operator/render/acl.h"
#include "operator/render/common.h"
#include "operator/render/objects.h"

namespace regroup::render {

namespace {

// What is no base64 reads as empty: a Secret that somebody has broken.
std::string FromBase64(const std::string& text) { return DecodeBase64(text).value_or(""); }

}  // namespace

Json Secret(const model::Group& group, const GroupSecrets& secrets) {
  Json secret{{"apiVersion", "v1"},
              {"kind", "Secret"},
              {"type", "Opaque"},
              {"metadata", Metadata(group, SecretName(group.meta), true)}};
  Json& data = secret["data"];
  data["operator-password"] = EncodeBase64(secrets.operator_password);
  data["watch-password"] = EncodeBase64(secrets.watch_password);
  data["replication-password"] = EncodeBase64(secrets.replication_password);
  data["users.acl"] = EncodeBase64(AclFile(group.spec.engine, secrets));
  data["auth.conf"] =
      EncodeBase64(model::ConfigLine("masteruser", {kReplicationUser}) +
                   model::ConfigLine("masterauth", {secrets.replication_password}));
  Seal(secret);
  return secret;
}

bool SamePasswords(const GroupSecrets& one, const GroupSecrets& other) {
  return one.operator_password == other.operator_password &&
         one.watch_password == other.watch_password &&
         one.replication_password == other.replication_password;
}

std::string PasswordsMark(const GroupSecrets& secrets) {
  if (secrets.operator_password.empty()) return "";
  return Sha256Hex(secrets.operator_password + "\n" + secrets.watch_password + "\n" +
                   secrets.replication_password)
      .substr(0, 16);
}

GroupSecrets ParseSecret(const Json& secret) {
  const Json& data = Child(secret, "data");
  GroupSecrets secrets;
  secrets.operator_password = FromBase64(Str(Child(data, "operator-password")));
  secrets.watch_password = FromBase64(Str(Child(data, "watch-password")));
  secrets.replication_password = FromBase64(Str(Child(data, "replication-password")));
  return secrets;
}

std::string SecretValue(const Json& secret, const std::string& key) {
  return FromBase64(Str(Child(Child(secret, "data"), key)));
}

Json ConfigMap(const model::Group& group, const model::Resolved& resolved) {
  Json map{{"apiVersion", "v1"},
           {"kind", "ConfigMap"},
           {"metadata", Metadata(group, ConfigMapName(group.meta), true)}};
  map["data"]["redis.conf"] = RedisConf(group, resolved);
  Seal(map);
  return map;
}

Json Service(const model::Group& group, model::SliceKind kind) {
  const bool primary = kind == model::SliceKind::kPrimary;
  const std::string name =
      primary ? PrimaryServiceName(group.meta) : ReaderServiceName(group.meta);
  Json service{
      {"apiVersion", "v1"}, {"kind", "Service"}, {"metadata", Metadata(group, name, true)}};
  // No selector: the EndpointSlice is ours, so that one write moves the endpoint (design 1.1).
  service["spec"]["type"] = "ClusterIP";
  service["spec"]["ports"] = Json::array({{{"name", "redis"},
                                           {"port", group.spec.port},
                                           {"targetPort", group.spec.port},
                                           {"protocol", "TCP"}}});
  Seal(service);
  return service;
}

Json PodDisruptionBudget(const model::Group& group, BudgetKind kind) {
  Json budget{{"apiVersion", "policy/v1"},
              {"kind", "PodDisruptionBudget"},
              {"metadata", Metadata(group, DisruptionBudgetName(group.meta, kind), true)}};
  const bool primary = kind == BudgetKind::kPrimary;
  // A primary that nothing could replace would hold up a drain for ever.
  const bool movable = group.spec.replicas > 0 && group.spec.automatic_failover_enabled;
  budget["spec"]["minAvailable"] =
      primary ? (movable ? 1 : 0) : std::max(group.spec.replicas - 1, 0);
  budget["spec"]["selector"]["matchLabels"] = {{kGroupLabel, group.meta.name},
                                               {kGroupUidLabel, group.meta.uid},
                                               {kRoleLabel, primary ? "primary" : "replica"}};
  Seal(budget);
  return budget;
}

Json EndpointSlice(const model::Group& group, const model::WriteSlice& write) {
  Json slice{{"apiVersion", "discovery.k8s.io/v1"},
             {"kind", "EndpointSlice"},
             {"metadata", Metadata(group, SliceName(group.meta, write.kind), true)}};
  Json& meta = slice["metadata"];
  meta["labels"]["kubernetes.io/service-name"] = SliceName(group.meta, write.kind);
  meta["labels"]["endpointslice.kubernetes.io/managed-by"] = "regroup.dev";
  meta["annotations"][kEpochAnnotation] = std::to_string(write.epoch);
  if (!write.resource_version.empty()) meta["resourceVersion"] = write.resource_version;
  const bool v6 = !write.endpoints.empty() &&
                  write.endpoints.front().address.find(':') != std::string::npos;
  slice["addressType"] = v6 ? "IPv6" : "IPv4";
  slice["ports"] =
      Json::array({{{"name", "redis"}, {"port", group.spec.port}, {"protocol", "TCP"}}});
  slice["endpoints"] = Json::array();
  for (const model::SliceEndpoint& endpoint : write.endpoints) {
    Json json{{"addresses", {endpoint.address}}};
    json["conditions"] = {{"ready", true}, {"serving", true}, {"terminating", false}};
    if (!endpoint.node.empty()) json["nodeName"] = endpoint.node;
    if (!endpoint.zone.empty()) json["zone"] = endpoint.zone;
    json["targetRef"] = {{"kind", "Pod"},
                         {"name", endpoint.name},
                         {"namespace", group.meta.namespace_name},
                         {"uid", endpoint.uid}};
    slice["endpoints"].push_back(json);
  }
  return slice;
}

Json Event(const model::Group& group, const model::EmitEvent& event, WallMs wall_now,
           const std::string& reporting_instance, std::uint64_t mark) {
  char suffix[40];
  std::snprintf(suffix, sizeof suffix, ".%llx.%llx", static_cast<unsigned long long>(wall_now),
                static_cast<unsigned long long>(mark));
  Json json{{"apiVersion", "events.k8s.io/v1"}, {"kind", "Event"}};
  json["metadata"] = {{"name", group.meta.name + suffix},
                      {"namespace", group.meta.namespace_name}};
  json["eventTime"] = FormatRfc3339Micro(wall_now);
  json["type"] = event.warning ? "Warning" : "Normal";
  json["reason"] = event.reason;
  json["note"] = event.message;
  json["action"] = "Reconcile";
  json["reportingController"] = "regroup.dev/operator";
  json["reportingInstance"] = reporting_instance;
  json["regarding"] = {{"apiVersion", std::string(model::kApiGroup) + "/" + model::kApiVersion},
                       {"kind", model::kKind},
                       {"name", group.meta.name},
                       {"namespace", group.meta.namespace_name},
                       {"uid", group.meta.uid}};
  return json;
}

}  // namespace regroup::render
