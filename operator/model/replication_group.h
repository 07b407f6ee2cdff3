// The ReplicationGroup resource as values: what the user wants (GroupSpec), and the durable record
// of what Regroup decided (NodeGroupRecord, kept in status.nodeGroups[]).
// Thread: plain values. Field names follow ElastiCache (notes on parity: design section 5); JSON in
// and out is in group_json.h, the rules that protect data are in validate.h.
#pragma once

#include <cstdint>
#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "operator/base/clock.h"

namespace regroup::model {

inline constexpr int kReplicasMax = 5;

enum class Engine { kRedis, kValkey };
enum class WriteGuardPolicy { kAuto, kOff };
enum class DeletionPolicy { kRetain, kDelete };

struct Toleration {
  std::string key;
  std::string op;      // "Exists" or "Equal"
  std::string value;
  std::string effect;  // empty: every effect
  std::optional<std::int64_t> toleration_seconds;
  bool operator==(const Toleration&) const = default;
};

struct Placement {
  std::map<std::string, std::string> node_selector;
  std::vector<Toleration> tolerations;
  std::string zone_topology_key = "topology.kubernetes.io/zone";
  std::string priority_class_name;
  int zone_wait_seconds = 60;  // how long a lost member waits for a node in its own zone
  bool operator==(const Placement&) const = default;
};

struct Resources {  // Kubernetes quantities as text, e.g. {"memory": "1Gi"}
  std::map<std::string, std::string> requests;
  std::map<std::string, std::string> limits;
  bool operator==(const Resources&) const = default;
};

struct Storage {
  std::string size;  // a Kubernetes quantity
  std::string storage_class_name;  // empty: the cluster's default class
  bool operator==(const Storage&) const = default;
};

struct SecretKeyRef {
  std::string name;
  std::string key;
  bool operator==(const SecretKeyRef&) const = default;
};

// The times and policies of design section 4; defaults are the design's.
struct FailoverSpec {
  WriteGuardPolicy write_guard = WriteGuardPolicy::kAuto;
  int write_guard_lag_seconds = 2;          // min-replicas-max-lag
  int unreachable_after_ms = 1500;          // Gone: no TCP acknowledgement from the host
  int unresponsive_after_ms = 5000;         // Hung: TCP acknowledges, no reply
  int unproven_after_seconds = 60;          // 0: never promote without proof
  int cool_down_seconds = 10;               // rule cool-down: the first pause, doubled each time
  int test_failovers_per_day = 15;          // ElastiCache's quota: in any 24 hours
  bool operator==(const FailoverSpec&) const = default;
};

struct GroupSpec {
  std::string description;
  Engine engine = Engine::kRedis;
  std::string engine_version;  // "7.0"
  std::string cache_node_type;         // empty when resources is set
  std::optional<Resources> resources;  // exactly one of the two
  int replicas = 0;                    // 0..5, from replicasPerNodeGroup or numCacheClusters - 1
  bool automatic_failover_enabled = false;
  bool multi_az_enabled = false;
  std::vector<std::string> preferred_cache_cluster_azs;  // [0] is the first primary's zone
  int port = 6379;
  std::map<std::string, std::string> parameters;
  std::optional<Storage> storage;  // absent: memory only
  FailoverSpec failover;
  Placement placement;
  std::optional<SecretKeyRef> auth_secret_ref;
  std::string primary_cluster_id;  // the member that shall be the primary; empty: any
  bool paused = false;
  DeletionPolicy deletion_policy = DeletionPolicy::kRetain;
  bool operator==(const GroupSpec&) const = default;

  int members() const { return replicas + 1; }
};

// One stretch of a replication history: replID, and the offset at which it ended. up_to < 0: open.
struct Lineage {
  std::string repl_id;
  std::int64_t up_to = -1;
  bool operator==(const Lineage&) const = default;
};
inline constexpr std::size_t kLineageMax = 8;

struct MemberRef {  // a member as an incarnation: the pod and the engine process in it
  std::string uid;
  std::string run_id;
  bool operator==(const MemberRef&) const = default;
};

struct PrimaryRef {
  std::string uid;
  std::string name;
  std::string run_id;
  std::string container_id;  // as the kubelet writes it, "containerd://…"; proof (a) compares it
  std::string address;       // where it is still watched once its pod object is gone
  std::string node;
  bool operator==(const PrimaryRef&) const = default;
};

// Stages of a change of the primary. The record says which one; the planner resumes a half-done
// transition before it starts anything else (source: ScyllaDB's topology coordinator).
enum class Stage {
  kNone,
  kPromoting,  // the old primary is silent; the new one may or may not have been told
  kSwitching,  // planned: the old primary is fenced, the new one reads its last writes, then it is
               // told. writeGuard and inSync are still those of the old one
  kReturning,  // planned, given up: the old one is granted once the new one is fenced or dead
};

struct Transition {
  std::string id;        // unique in the group; every log line and Event of the failover carries it
  std::string from_uid;  // may be empty (bootstrap)
  std::string from_name;
  std::string from_run_id;        // kSwitching, kReturning: the process that may be granted again
  std::string from_container_id;
  std::string to_uid;    // empty until chosen
  std::string to_name;
  std::string reason;    // an Event reason: PrimaryProcessDied, PrimaryUnreachable, PrimaryDeleted…
  Stage stage = Stage::kNone;
  WallMs started_wall_ms = 0;
  std::int64_t lost_bytes_max = -1;  // what the new primary lacks of the old one's; -1: unknown
  std::int64_t detect_ms = -1;       // from the old primary's last sign of life to the decision
  bool planned = false;
  bool operator==(const Transition&) const = default;
};

struct LastFailover {
  std::string id;
  std::string from_name;
  std::string to_name;
  std::string reason;
  WallMs finished_wall_ms = 0;
  std::int64_t duration_ms = 0;      // from the decision to the end
  std::int64_t lost_bytes_max = -1;  // -1: unknown
  // The stages; -1 where another leader began the work. Detection comes before duration_ms.
  std::int64_t detect_ms = -1;
  std::int64_t promote_ms = -1;      // from the decision to the new primary's answer
  std::int64_t endpoint_ms = -1;     // from there to the written primary endpoint
  bool planned = false;
  bool recovered = false;            // every member has been in sync since
  // Rule cool-down counts automatic failovers that followed each other closely.
  int streak = 0;
  WallMs automatic_wall_ms = 0;      // when the last automatic one ended; 0: there was none
  bool operator==(const LastFailover&) const = default;
};

// A TestFailover, as ElastiCache has it: asked for once by annotation, its result kept here.
struct TestFailover {
  std::string id;       // the annotation's value
  std::string state;    // running, completed, refused, failed
  std::string message;  // for people: what happened, or what to do
  std::string from_name;
  std::string from_run_id;
  std::string to_name;
  std::string reason;   // of the failover that it caused
  WallMs started_wall_ms = 0;
  std::int64_t duration_ms = -1;
  std::int64_t lost_bytes_max = -1;
  bool operator==(const TestFailover&) const = default;
};

// The durable record of one node group (design section 4). Changed only by compare-and-swap on the
// resource's resourceVersion; what belongs together changes in one write.
struct NodeGroupRecord {
  std::string node_group_id = "0001";
  std::int64_t epoch = 0;  // 0: nothing was ever granted
  std::optional<PrimaryRef> primary;
  std::vector<Lineage> lineage;  // newest last, at most kLineageMax
  bool write_guard = false;
  int guard_lag_seconds = 0;     // the longest that the engine may use now; 0: as in the spec
  std::vector<MemberRef> in_sync;      // replicas that the primary reported online with a small lag
  std::vector<std::string> members;    // UIDs that may hold a replication link
  std::vector<std::string> suspects;   // once granted, not yet proven silent
  std::optional<Transition> transition;
  std::optional<LastFailover> last_failover;
  std::optional<TestFailover> test_failover;
  std::vector<WallMs> test_failovers;  // when those of the last 24 hours began, for the quota
  bool operator==(const NodeGroupRecord&) const = default;
};

enum class ConditionStatus { kTrue, kFalse, kUnknown };

struct Condition {
  std::string type;  // Ready, Available, FailoverReady, Reconciling, Stalled
  ConditionStatus status = ConditionStatus::kUnknown;
  std::string reason;
  std::string message;
  std::int64_t observed_generation = 0;
  WallMs last_transition_wall_ms = 0;
  bool operator==(const Condition&) const = default;
};

struct MemberStatus {
  std::string name;
  std::string uid;
  std::string zone;
  std::string node;
  std::string current_role;  // "primary", "replica", or "" while it is neither
  std::string status;        // creating, available, syncing, unreachable, deleting
  std::string address;       // pod IP
  bool operator==(const MemberStatus&) const = default;
};

// The view for people, kubectl, kstatus and GitOps; never read back as a decision's input.
struct GroupView {
  std::int64_t observed_generation = 0;
  std::string status;  // creating, available, modifying, deleting
  std::vector<Condition> conditions;
  std::vector<MemberStatus> members;
  std::string primary_endpoint;  // DNS name
  std::string reader_endpoint;
  int port = 0;
  int replicas = 0;              // ready replicas, for the scale subresource
  std::string selector;          // label selector text, for the scale subresource
  std::vector<std::string> pending_restart_parameters;  // need a restart to take effect
  std::string engine_version_actual;
  bool operator==(const GroupView&) const = default;
};

struct GroupMeta {
  std::string namespace_name;
  std::string name;
  std::string uid;
  std::string resource_version;
  std::int64_t generation = 0;
  bool deleting = false;
  bool has_finalizer = false;
  bool forget_requested = false;  // the documented escape annotation
  std::string test_failover_id;   // annotation regroup.dev/test-failover; empty: none asked for
  bool operator==(const GroupMeta&) const = default;
};

struct Group {
  GroupMeta meta;
  GroupSpec spec;
  std::string spec_error;  // not empty: the spec cannot be used, and why (shown in Stalled)
  NodeGroupRecord record;
  bool has_record = false;  // status.nodeGroups[0] exists with an epoch
  GroupView view;           // as stored now, to see whether a write is needed
  // Not stored: whom this operator saw granted under a younger record than the stored one, which
  // was wiped or set back since.
  std::optional<PrimaryRef> forgotten_primary;
  std::int64_t forgotten_epoch = 0;  // of that record
};

// As ElastiCache names members: "web-cache-001".
inline std::string MemberName(const GroupMeta& meta, int index) {
  char text[16];
  std::snprintf(text, sizeof text, "-%03d", index);
  return meta.name + text;
}

// "namespace/name": the key of the work queue, of the fleet and of logs.
inline std::string KeyOf(const GroupMeta& meta) { return meta.namespace_name + "/" + meta.name; }

}  // namespace regroup::model
