// What every simulated run stands on: three nodes in three zones, an API server, one group, clients
// that write, and two operators.
// Thread: one; nothing is shared between scenes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "operator/model/replication_group.h"
#include "tests/sim/checker.h"
#include "tests/sim/clients.h"
#include "tests/sim/cluster.h"
#include "tests/sim/sim_operator.h"

namespace regroup::sim {

struct SceneOptions {
  model::PlanOptions plan;
  bool print_trace = false;
  bool neighbours = false;   // in one seed of four other groups fail, too
  bool old_records = false;  // the API server's store may be set back past a change of the record
};

class Scene {
 public:
  Scene(std::uint64_t seed, const SceneOptions& options);
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;

  // web-cache, with two replicas where `more` of its spec does not say something else.
  void CreateGroup(const Json& more = Json::object());
  // A group without replicas fails over to nobody.
  static Json ReplicasOf(std::int64_t replicas);
  void DeleteGroup();
  void PatchSpec(const Json& spec);
  bool GroupExists() const { return server_.Find(group_ref_) != nullptr; }
  bool GroupStays() const { return GroupExists() && !Stored().meta.deleting; }
  model::Group Stored() const;  // the group must exist
  std::size_t PodCount() const { return server_.Objects("pods").size(); }
  void StartOperators();
  // Each engine is written to, every so often, whatever its role; and on each node a client writes
  // through the primary endpoint.
  void StartClients();
  // Until `done` or the time is over; whether it is done then.
  bool RunUntil(MonoMs end, const std::function<bool()>& done);
  void RunFor(std::int64_t ms);
  bool IsServed() const { return checker_.Served(); }
  bool IsWhole() const { return checker_.Whole(members_); }
  void SetMembers(std::size_t members) { members_ = members; }
  std::vector<Engine*> Living() const;
  Engine* Primary() const;  // of the living ones; null where there is none
  std::int64_t ApiWrites() const;
  // Rule quiet: for `ms` nothing is written but the Lease. Clients write seldom meanwhile.
  void StayQuiet(std::int64_t ms);

 protected:
  void ClientsWrite();

  World world_;
  Network network_;
  History history_;
  Engines engines_;
  ApiServer server_;
  Checker checker_;
  Cluster cluster_;
  Clients clients_;
  OperatorFaults faults_;
  StepFault step_fault_;
  std::vector<std::unique_ptr<SimOperator>> operators_;
  const kube::ObjectRef group_ref_{kGroups, "default", "web-cache"};
  std::size_t members_ = 3;
  std::int64_t write_every_ms_ = 25;
  std::int64_t refused_ = 0;  // writes by a primary that runs
};

}  // namespace regroup::sim
