#include <algorithm>

#include "operator/model/group_json.h"
#include "operator/model/parameters.h"
#include "operator/render/acl.h"
#include "operator/render/common.h"
#include "operator/render/objects.h"

namespace regroup::render {


namespace {

std::string Base64(const std::string& text) {
  static constexpr char kAlphabet[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    bits = (bits << 8) | static_cast<unsigned char>(c);
    count += 8;
    while (count >= 6) {
      count -= 6;
      out += kAlphabet[(bits >> count) & 63];
    }
  }
  if (count > 0) out += kAlphabet[(bits << (6 - count)) & 63];
  while (out.size() % 4 != 0) out += '=';
  return out;
}

std::string FromBase64(const std::string& text) {
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    int value = 0;
    if (c >= 'A' && c <= 'Z') value = c - 'A';
    else if (c >= 'a' && c <= 'z') value = c - 'a' + 26;
    else if (c >= '0' && c <= '9') value = c - '0' + 52;
    else if (c == '+') value = 62;
    else if (c == '/') value = 63;
    else continue;
    bits = (bits << 6) | static_cast<std::uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += static_cast<char>((bits >> count) & 0xFF);
    }
  }
  return out;
}

}  // namespace

Json Secret(const model::Group& group, const GroupSecrets& secrets) {
  Json secret{{"apiVersion", "v1"},
              {"kind", "Secret"},
              {"type", "Opaque"},
              {"metadata", Metadata(group, SecretName(group.meta), true)}};
  Json& data = secret["data"];
  data["operator-password"] = Base64(secrets.operator_password);
  data["watch-password"] = Base64(secrets.watch_password);
  data["replication-password"] = Base64(secrets.replication_password);
  data["users.acl"] = Base64(AclFile(group.spec.engine, secrets));
  data["auth.conf"] =
      Base64(model::ConfigLine("masteruser", {kReplicationUser}) +
             model::ConfigLine("masterauth", {secrets.replication_password}));
  Seal(secret);
  return secret;
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

Json PodDisruptionBudget(const model::Group& group) {
  Json budget{{"apiVersion", "policy/v1"},
              {"kind", "PodDisruptionBudget"},
              {"metadata", Metadata(group, DisruptionBudgetName(group.meta), true)}};
  budget["spec"]["minAvailable"] = std::max(group.spec.members() - 1, 0);
  budget["spec"]["selector"]["matchLabels"] = {{kGroupLabel, group.meta.name},
                                               {kGroupUidLabel, group.meta.uid}};
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
