// Scheduler and kubelets: binds pods to nodes by the zone that the plan chose, starts and restarts
// engine processes, reports statuses late, and ends deleted pods. A node that is cut off keeps its
// processes and reports nothing.
// Thread: one.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/fake_api.h"
#include "tests/sim/fake_engine.h"

namespace regroup::sim {

inline const kube::ResourceType kPods{"", "v1", "pods", true};
inline const kube::ResourceType kNodes{"", "v1", "nodes", false};
inline const kube::ResourceType kGroups{"regroup.dev", "v1alpha1", "replicationgroups", true};

struct ClusterOptions {
  bool born_fenced = true;  // false: the rule is switched off, whatever redis.conf says
  bool following = true;    // false: members that are no primary feed replicas, too
  bool one_group = true;    // false: the password of replication is the same in all groups
  int port = 6379;
  std::function<void(const std::string& what)> on_foreign_volume;
};

class Cluster final : public EngineObserver {
 public:
  Cluster(World* world, Network* network, Engines* engines, ApiServer* server,
          ClusterOptions options);

  void AddNode(const std::string& name, const std::string& zone);
  const std::vector<std::string>& nodes() const { return nodes_; }
  // The node's processes end without a word; nothing of it runs until it has power again.
  void PowerOff(const std::string& node);
  void PowerOn(const std::string& node) { dark_.erase(node); }
  // How often a freed address goes to a pod of another group.
  void SetStrangers(double chance) { strangers_ = chance; }

  void OnFullSync(const Engine&, int, const Engine&) override {}
  void OnPromoted(const Engine&) override {}
  void OnDeath(const Engine& engine) override;

 private:
  struct Pod {
    std::string name_space;
    std::string name;
    std::string uid;
    std::string node;
    std::string address;
    std::string container_id;
    std::string ended_container_id;
    const char* ended_reason = "Error";
    WallMs started_wall_ms = 0;
    int restarts = 0;
    Engine* engine = nullptr;
    std::string volume;  // UID of the claim that it mounts
    bool ending = false;
    bool reporting = false;
    MonoMs ready_at = 0;
  };

  void OnApiChange(const Change& change);
  void OnApiRestart();
  void Schedule(const std::string& name_space, const std::string& name, const std::string& uid);
  std::string ChooseNode(const Json& pod) const;
  void StartContainer(const std::string& uid);
  bool ReadConfig(const Json& pod, EngineConfig* config) const;
  void Report(const std::string& uid);
  void WriteStatus(const std::string& uid);
  Json StatusOf(const Pod& pod) const;
  const Json* ClaimOf(const Json& pod) const;
  std::string ZoneOfVolume(const Json& pod) const;
  void BindVolume(const Json& pod, const std::string& node);
  std::string VolumeOf(const Json& pod) const;
  std::int64_t HoldMs(const Pod& pod) const;
  void End(const std::string& uid);
  void Vanish(const std::string& uid);
  void Finish(const std::string& uid);
  void CollectGarbage(const std::string& owner_uid);
  std::string NewAddress(const std::string& node);
  void Free(const std::string& node, const std::string& address);
  void WatchNode(const std::string& name);
  bool KubeletWorks(const Pod& pod) const { return network_->BothWays(pod.node, "api"); }
  kube::ObjectRef RefOf(const Pod& pod) const { return {kPods, pod.name_space, pod.name}; }

  World* world_;
  Network* network_;
  Engines* engines_;
  ApiServer* server_;
  ClusterOptions options_;
  std::vector<std::string> nodes_;
  std::map<std::string, std::string> zones_;     // node -> zone
  std::map<std::string, MonoMs> silent_since_;   // node -> since when its kubelet is not heard
  std::map<std::string, bool> known_lost_;       // node -> what its object says
  std::map<std::string, Pod> pods_;              // by UID, bound ones
  std::map<std::string, int> disks_;  // by the claim's UID: what is on it
  int next_address_ = 1;
  std::map<std::string, std::vector<std::string>> free_addresses_;  // by node
  std::set<std::string> dark_;  // nodes without power
  double strangers_ = 0;
};

}  // namespace regroup::sim
