#include "operator/render/common.h"
#include "operator/render/objects.h"

namespace regroup::render {

namespace {

constexpr int kEngineUid = 999;
constexpr int kPreStopSeconds = 6;  // longer than the Lease, so that a new leader still has time

Json QuantityMap(const std::map<std::string, std::string>& map) {
  Json json = Json::object();
  for (const auto& [name, value] : map) json[name] = value;
  return json;
}

Json Container(const model::Group& group, const model::Resolved& resolved) {
  const bool redis = group.spec.engine == model::Engine::kRedis;
  Json container{
      {"name", kEngineContainer},
      {"image", resolved.image},
      {"imagePullPolicy", "IfNotPresent"},
      {"command", {redis ? "redis-server" : "valkey-server", "/etc/regroup/redis.conf"}},
      {"ports", {{{"name", "redis"}, {"containerPort", group.spec.port}, {"protocol", "TCP"}}}},
      {"workingDir", "/data"}};
  container["resources"]["requests"] = QuantityMap(resolved.resources.requests);
  if (!resolved.resources.limits.empty()) {
    container["resources"]["limits"] = QuantityMap(resolved.resources.limits);
  }
  container["readinessProbe"] = {{"tcpSocket", {{"port", group.spec.port}}},
                                 {"periodSeconds", 2},
                                 {"timeoutSeconds", 2},
                                 {"failureThreshold", 3}};
  // Holds SIGTERM while a planned switchover moves the primary's role away.
  container["lifecycle"]["preStop"]["sleep"]["seconds"] = kPreStopSeconds;
  container["securityContext"] = {{"allowPrivilegeEscalation", false},
                                  {"readOnlyRootFilesystem", true},
                                  {"capabilities", {{"drop", {"ALL"}}}}};
  container["volumeMounts"] = Json::array(
      {{{"name", "data"}, {"mountPath", "/data"}},
       {{"name", "config"}, {"mountPath", "/etc/regroup"}, {"readOnly", true}},
       {{"name", "secret"}, {"mountPath", "/etc/regroup-secret"}, {"readOnly", true}}});
  return container;
}

Json Volumes(const model::Group& group, const std::string& name) {
  Json data{{"name", "data"}};
  if (group.spec.storage) data["persistentVolumeClaim"] = {{"claimName", VolumeName(name)}};
  else data["emptyDir"] = Json::object();
  Json secret_items = Json::array({{{"key", "users.acl"}, {"path", "users.acl"}},
                                   {{"key", "auth.conf"}, {"path", "auth.conf"}}});
  return Json::array({data,
                      {{"name", "config"}, {"configMap", {{"name", ConfigMapName(group.meta)}}}},
                      {{"name", "secret"},
                       {"secret",
                        {{"secretName", SecretName(group.meta)},
                         {"defaultMode", 0440},
                         {"items", secret_items}}}}});
}

Json Affinity(const model::Group& group, const std::string& zone) {
  Json affinity;
  affinity["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"] = Json::array(
      {{{"weight", 100},
        {"podAffinityTerm",
         {{"topologyKey", "kubernetes.io/hostname"},
          {"labelSelector", {{"matchLabels", {{kGroupLabel, group.meta.name}}}}}}}}});
  if (!zone.empty()) {
    Json expression{{"key", group.spec.placement.zone_topology_key},
                    {"operator", "In"},
                    {"values", {zone}}};
    Json terms = Json::array({{{"matchExpressions", Json::array({expression})}}});
    affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            ["nodeSelectorTerms"] = terms;
  }
  return affinity;
}

Json Tolerations(const model::Placement& placement) {
  Json list = Json::array();
  for (const model::Toleration& item : placement.tolerations) {
    Json json{{"operator", item.op}};
    if (!item.key.empty()) json["key"] = item.key;
    if (!item.value.empty()) json["value"] = item.value;
    if (!item.effect.empty()) json["effect"] = item.effect;
    if (item.toleration_seconds) json["tolerationSeconds"] = *item.toleration_seconds;
    list.push_back(json);
  }
  return list;
}

}  // namespace

Json Pod(const model::Group& group, const model::Resolved& resolved, const std::string& name,
         const std::string& zone) {
  Json pod{{"apiVersion", "v1"}, {"kind", "Pod"}, {"metadata", Metadata(group, name, true)}};
  Json& spec = pod["spec"];
  spec["containers"] = Json::array({Container(group, resolved)});
  spec["volumes"] = Volumes(group, name);
  spec["affinity"] = Affinity(group, zone);
  spec["restartPolicy"] = "Always";
  spec["terminationGracePeriodSeconds"] = 30;
  spec["automountServiceAccountToken"] = false;
  spec["enableServiceLinks"] = false;
  spec["hostname"] = name;
  spec["securityContext"] = {{"runAsNonRoot", true},
                             {"runAsUser", kEngineUid},
                             {"runAsGroup", kEngineUid},
                             {"fsGroup", kEngineUid},
                             {"fsGroupChangePolicy", "OnRootMismatch"},
                             {"seccompProfile", {{"type", "RuntimeDefault"}}}};
  const model::Placement& placement = group.spec.placement;
  if (!placement.node_selector.empty()) spec["nodeSelector"] = placement.node_selector;
  if (!placement.tolerations.empty()) spec["tolerations"] = Tolerations(placement);
  if (!placement.priority_class_name.empty()) {
    spec["priorityClassName"] = placement.priority_class_name;
  }
  pod["metadata"]["annotations"][kBornWithAnnotation] = Json(BornWith(group, resolved)).dump();
  Seal(pod);
  if (!zone.empty()) pod["metadata"]["annotations"][kZoneAnnotation] = zone;
  return pod;
}

Json Volume(const model::Group& group, const std::string& member_name) {
  Json volume{{"apiVersion", "v1"},
              {"kind", "PersistentVolumeClaim"},
              {"metadata", Metadata(group, VolumeName(member_name), false)}};
  volume["spec"]["accessModes"] = {"ReadWriteOnce"};
  volume["spec"]["resources"]["requests"]["storage"] =
      group.spec.storage ? group.spec.storage->size : "1Gi";
  if (group.spec.storage && !group.spec.storage->storage_class_name.empty()) {
    volume["spec"]["storageClassName"] = group.spec.storage->storage_class_name;
  }
  return volume;
}

}  // namespace regroup::render
