// The oracles: what must never happen, looked at after every event of the world, and what must
// happen once the faults have stopped. Source: notes reliability F, and the observer of the
// main-job issue's bars 5 and 6.
//   S1  no two members accept writes at one instant; the primary's slice never holds two
//   S3  a member that holds data full-syncs only from the recorded primary, never from an empty
//       one; no member starts empty while another process holds data
//   S6  epochs only grow; one primary for each epoch; no promotion that the record does not name
//   S5  a planned change of the primary loses no write
//   S7  a destructive call of the operator names UID and resourceVersion, and never takes the last
//       holder of replicated writes
//   S8  a primary that its replicas hear is not replaced, nor are they taken from it, because an
//       operator does not hear it
//   endpoints  a slice's epoch never falls; the primary's slice never names a member before it was
//       promoted; at rest both slices hold whom they should, with node and zone
//   S9  a pod never mounts a volume of another group
//   L3  failovers that rest on silence keep the pauses of rule cool-down
//   S4  (reported apart) a member was promoted while a reachable one of the same history had more
//       replicated writes
// The declared limit: a process that was frozen may acknowledge for about a second after it thaws
// what waited in its sockets; such an overlap is a note.
// Thread: one.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "operator/model/replication_group.h"
#include "tests/sim/fake_api.h"
#include "tests/sim/fake_engine.h"

namespace regroup::sim {

struct Violation {
  std::string rule;
  std::string text;
  MonoMs at = 0;
};

class Checker final : public EngineObserver {
 public:
  Checker(World* world, Network* network, Engines* engines, ApiServer* server);

  void AfterEvent();
  // One member accepts writes and is what the primary's slice holds.
  bool Served() const;
  // Served, and `members` processes hold exactly the primary's history.
  bool Whole(std::size_t members) const;
  // Why the group waits for a human, by its own condition; empty: it does not.
  std::string Stalled() const;
  std::string Picture() const;

  void OnFullSync(const Engine& replica, int old_head, const Engine& source) override;
  void OnPromoted(const Engine& engine) override;
  void OnDeath(const Engine& engine) override;
  void OnDetached(const Engine& replica, const Engine& source) override;
  // Once all is well and nothing changes any more: what slices, labels and the Secret hold.
  void CheckObjectsAtRest();

  const std::vector<Violation>& violations() const { return violations_; }
  const std::map<std::string, std::int64_t>& counters() const { return counters_; }
  void Count(const std::string& what) { ++counters_[what]; }
  // A human changes what the group owns; a watch that hangs tells an operator of it late.
  void OnHumanEdit() { edited_at_ = world_->Now(); }
  MonoMs edited_at() const { return edited_at_; }  // 0: never
  // An operator that starts on a Secret which a human has changed cannot know the right one.
  void OnOperatorStart();
  // The operator asks the API to delete something; told before it happens.
  void OnOperatorDelete(const kube::ObjectRef& ref, const kube::Preconditions& preconditions);
  // Somebody destroys the record: what was granted under it is known by nobody any more.
  void ForgetEpoch() {
    epoch_ = 0;
    epoch_uid_.clear();
    slice_epochs_.clear();
  }
  // A rule whose oracle is somewhere else was broken.
  void Fault(const std::string& rule, const std::string& text) { Violate(rule, text); }

 private:
  void Violate(const std::string& rule, const std::string& text);
  void OnApiChange(const Change& change);
  void CheckRecord(const Json& group);
  void CheckSlice(const Json& slice);
  void CheckSliceEpoch(const Json& slice);
  void CheckLabels();
  void CheckSecret();
  bool SecretIsRight() const;
  void CheckPrimarySlice(const Json& slice);
  void CheckEndpoints(const std::string& slice_name, const std::vector<const Engine*>& wanted);
  void CheckTransition(const model::NodeGroupRecord& record);
  void CheckPatience(const std::string& uid);
  void CheckLastHolder(const std::string& uid);
  void CheckNothingLost(const Engine& promoted);
  void LookAtHealth();
  bool Reachable(const Engine& engine) const;
  bool Stays(const Engine& engine) const;

  World* world_;
  Network* network_;
  Engines* engines_;
  ApiServer* server_;
  std::vector<Violation> violations_;
  std::map<std::string, std::int64_t> counters_;
  int restores_ = 0;  // of the API server's store: records begin again from an older one
  int slice_restores_ = 0;
  std::int64_t epoch_ = 0;
  std::string epoch_uid_;
  std::optional<model::LastFailover> last_failover_;
  std::string recorded_uid_;
  std::string before_uid_;  // who was recorded before
  std::string before_run_;
  MonoMs before_until_ = 0;
  std::string group_uid_;
  std::map<std::string, std::int64_t> slice_epochs_;  // by slice name
  std::map<std::string, Json> secrets_;  // by a pod's UID: as it was when the pod was made
  bool secret_unknowable_ = false;
  MonoMs edited_at_ = 0;
  std::string seen_transition_;       // its id
  std::string planned_from_uid_;      // of a planned transition under way
  std::string planned_from_run_;
  std::string healthy_uid_;           // the recorded primary, while its replicas hear it…
  MonoMs healthy_since_ = 0;          // …without a break since then
  MonoMs primary_died_at_ = 0;
  std::string recorded_run_;
  std::vector<std::string> slice_uids_;
  std::vector<std::string> slice_addresses_;
  bool overlap_ = false;
};

}  // namespace regroup::sim
