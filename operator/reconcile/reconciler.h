// observe -> plan -> record -> act -> publish_status, one round of effects a pass. Begin() plans,
// Round::Step() performs the next part of it, End() closes it; so a crash between any two effects
// is a state that the planner knows, and the simulator can interleave rounds on one thread.
// Thread: any worker, but one key on one worker at a time (the work queue's promise). StartLeading
// and StopLeading while no round is open. Source: design section 2, "One round at a time".
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "operator/model/observed.h"
#include "operator/model/plan.h"
#include "operator/reconcile/observe.h"
#include "operator/reconcile/ports.h"
#include "operator/runtime/work_queue.h"

namespace regroup::reconcile {

// What this process keeps of a group between passes; lost with the process.
struct GroupState {
  model::Memory memory;
  Rendered rendered;
  render::GroupSecrets secrets;  // as this process first saw them; authSecretRef's password, too
  std::string secrets_of;        // the group's UID
  // What was known before, until a member tells what it was born with; nearly always empty.
  std::vector<render::GroupSecrets> former_secrets;
  std::string auth_error;
  std::string auth_reference;  // namespace/name/key that default_password was read from
  MonoMs auth_read_at = 0;
  std::string last_error;
  std::string last_why;        // what was logged last, so that a wait is logged once
  std::string granted_of;      // the group's UID for the two below
  std::int64_t granted_epoch = 0;                  // of the youngest record that was ever seen
  std::optional<model::PrimaryRef> granted_then;  // and its primary
};

class Round {
 public:
  Round(const Ports& ports, const Options& options, GroupState& state, model::Observed seen,
        model::Plan plan);

  // Performs the next part. False: nothing is left. Never throws; a part that fails is noted and
  // the rest goes on, unless the rest must not happen without it (record-first, authority).
  bool Step();

  const model::Observed& seen() const { return seen_; }
  const model::Plan& plan() const { return plan_; }
  bool dropped() const { return dropped_; }    // a record or a read that did not hold: plan again
  bool failed() const { return !error_.empty(); }
  bool any_effect() const { return !plan_.effects.empty() || plan_.record.has_value(); }
  bool yielded() const { return yielded_; }    // nothing was done, for other groups' sake
  const std::string& error() const { return error_; }

 private:
  enum class Phase { kPrepare, kConfirm, kAuthority, kEngine, kHandOver, kObjects, kOver };

  void Prepare();
  void Confirm();
  void ConfirmAll();
  void Authority();
  void Engine();
  void HandOver();
  void Object();
  bool StillRecorded(const std::string& why_not);
  void Drop(const std::string& why);
  void Note(const std::string& what, const Error& error);
  void AfterEffect(const model::Effect& effect);
  void RunEngine(const std::vector<std::size_t>& indices);
  Phase AfterPrepare() const;
  Phase AfterEngine() const;
  bool RecordsLate() const;

  const Ports& ports_;
  const Options& options_;
  GroupState& state_;
  model::Observed seen_;
  model::Plan plan_;
  std::string key_;
  render::GroupSecrets secrets_;
  Phase phase_ = Phase::kOver;
  std::vector<std::size_t> engine_;   // indices into plan_.effects
  std::vector<std::size_t> objects_;
  std::map<std::string, redis::Session> sessions_;  // by member UID
  std::optional<std::size_t> hand_over_;  // the promotion that waits for its `after_uid`
  MonoMs hand_over_since_ = 0;
  std::set<std::string> acknowledged_;    // members whose engine change of this round is done
  std::size_t next_confirm_ = 0;
  std::size_t next_engine_ = 0;
  std::size_t next_object_ = 0;
  bool recorded_ = false;
  bool dropped_ = false;
  bool interrupted_ = false;
  bool yielded_ = false;
  std::string error_;
};

class Reconciler {
 public:
  Reconciler(Ports ports, Options options);

  // Nothing: the group is gone, or what the caches hold cannot be relied on.
  std::unique_ptr<Round> Begin(const std::string& key);
  // Publishes the view; answers how the pass ended and when to look again.
  runtime::Outcome End(const std::string& key, std::unique_ptr<Round> round);
  // Standby: keeps the connections to the group's engines warm, and nothing else.
  void Watch(const std::string& key);

  void StartLeading();
  void StopLeading();

 private:
  GroupState& StateOf(const std::string& key);
  void Forget(const std::string& key);
  void SetTargets(const model::Group& group, const GroupState& state);
  void ReadAuth(const model::Group& group, GroupState& state);
  void TendMemory(const model::Group& group, GroupState& state);
  // The group as it is stored, or a copy that knows of a younger grant.
  static std::shared_ptr<const model::Group> RecallGrant(
      std::shared_ptr<const model::Group> group, GroupState& state, MonoMs now);
  void LogWhy(const Round& round, GroupState& state) const;
  bool Publish(const Round& round);
  void Measure(const Round& round) const;

  const Ports ports_;
  const Options options_;
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<GroupState>> states_;
  struct Parted {
    std::string address;
    MonoMs at = 0;
  };
  std::map<std::string, Parted> parted_;  // where the endpoints of groups that are gone led to
  MonoMs leading_since_ = 0;
  std::map<std::string, MonoMs> ready_since_;  // nodes; the same for all groups
};

}  // namespace regroup::reconcile
