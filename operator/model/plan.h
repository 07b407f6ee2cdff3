// The planner's answer as data: an optional change of the durable record, one round of effects that
// may run side by side after it, the view to publish last, and the reasons in words.
// Thread: plain values. The worker performs them (reconcile/act); nothing here does anything.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "operator/model/observed.h"
#include "operator/model/replication_group.h"

namespace regroup::model {

// Engine changes. Each goes over the operator user's connection with authority (rule authority) and
// in one MULTI that first kills that user's other connections.
enum class EngineChange {
  kFence,        // REPLICAOF 127.0.0.1 1, kill normal and pubsub clients, UNPAUSE
  kDetach,       // REPLICAOF 127.0.0.1 1 of a replica, whose readers stay: it never took writes
  kPromote,      // min-replicas-to-write 0; REPLICAOF NO ONE
  kFollow,       // REPLICAOF address port
  kGuardOn,      // CONFIG SET min-replicas-to-write 1
  kGuardOff,     // CONFIG SET min-replicas-to-write 0
  kCutClients,   // CLIENT KILL TYPE normal, TYPE pubsub (rule old-clients)
  kSetConfig,    // CONFIG SET of `config`
  kShutdown,     // SHUTDOWN NOSAVE NOW, alone: ends the process (rule kill-not-wait, TestFailover)
  kSetAcl,       // ACL SETUSER default …, from the group's Secret
};

struct EngineEffect {
  std::string uid;
  std::string run_id;  // the process that is meant: another one at that address refuses the command
  EngineChange change = EngineChange::kFence;
  std::string address;  // kFollow
  int port = 0;         // kFollow
  std::map<std::string, std::string> config;  // kSetConfig
  // kPromote of a planned change: in the same round, once this member has acknowledged its fence
  // and the new primary has read all that it had (rule planned: no API call in between).
  std::string after_uid;
  bool step = false;  // kCutClients: one of the steps of rule old-clients
  std::string reason;
};

struct CreateMember {
  std::string name;
  std::string zone;  // empty: any
  std::string reason;
};

struct DeleteMember {
  std::string name;
  std::string uid;
  std::string resource_version;
  int grace_seconds = -1;  // -1: the pod's own
  std::string reason;
  // Whose pod must stay for it, by a live read: a hung primary is ended only for an heir. "": none.
  std::string heir_name{};
  std::string heir_uid{};
  MonoMs not_after = 0;  // what it rests on is too old from then on; 0: it does not age
};

struct ApplyOwned {
  OwnedKind kind = OwnedKind::kSecret;
};

struct WriteSlice {
  SliceKind kind = SliceKind::kPrimary;
  std::int64_t epoch = 0;
  std::string resource_version;  // empty: create
  std::vector<SliceEndpoint> endpoints;
};

struct LabelRole {
  std::string name;
  std::string uid;
  std::string role;  // "primary", "replica"
};

struct DeleteVolume {
  std::string name;
  std::string uid;
  std::string resource_version;
};

struct SetFinalizer {
  bool present = true;
};

struct EmitEvent {
  bool warning = false;
  std::string reason;
  std::string message;
};

using Effect = std::variant<EngineEffect, CreateMember, DeleteMember, ApplyOwned, WriteSlice,
                            LabelRole, DeleteVolume, SetFinalizer, EmitEvent>;

// How closely the fleet looks at this group until the next pass.
enum class Attention {
  kRest,      // INFO once a second and nothing else
  kSuspect,   // 10 Hz: a member is suspected
  kUrgent,    // at once, then 20 Hz: a transition is under way and each answer ends a wait
};

// A process that was heard at a pod's address is taken for that pod's. Where the watch is behind,
// the pod may be an earlier one of that name and address: a live read tells.
struct LivePod {
  std::string name;
  std::string uid;
  std::string run_id;
  bool gone = false;  // its object is gone, as far as is known
};

struct Plan {
  std::vector<LivePod> confirm;           // before record and engines; else the round drops
  bool confirm_all = false;               // likewise: the group's pods are the ones planned with
  std::optional<NodeGroupRecord> record;  // CAS before the effects; a lost CAS drops the round
  std::vector<Effect> effects;
  GroupView view;                         // published last, and only when it differs
  std::vector<std::string> why;           // one sentence a decision, for the log
  std::int64_t requeue_ms = -1;           // look again after this long even if nothing wakes us
  Attention attention = Attention::kRest;
  std::string failover_id;                // of the failover that this pass works on; may be empty
};

// The rules of design section 4 that the simulator can switch off, to prove that it would notice.
// main.cc has no way to reach this: production always runs with the defaults.
struct PlanOptions {
  bool born_fenced = true;
  bool record_first = true;
  bool authority = true;
  bool order = true;
  bool proof = true;
  bool write_guard = true;
  bool candidate = true;
  bool following = true;
  bool nothing_promotable = true;
  bool endpoints = true;
  bool no_record = true;
  bool kill_not_wait = true;
  bool not_on_one_view = true;
  bool planned = true;
  bool old_clients = true;
  bool removal = true;
  bool cool_down = true;
  bool one_group = true;
  bool uid_preconditions = true;
  bool quiet = true;
  bool read_your_writes = true;  // no rule, but the gate of the caches (Caches::Keep)
};

}  // namespace regroup::model
