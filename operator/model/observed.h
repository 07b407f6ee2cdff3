// Everything the planner may know, as one value: the desired group, the objects that the store
// holds, and what the engines said, each with the time at which it was true.
// Thread: plain values, built by reconcile/observe for one pass and thrown away after it.
// Units: *_ms are milliseconds; MonoMs times are of the operator's own CLOCK_BOOTTIME.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "operator/base/clock.h"
#include "operator/base/interned.h"
#include "operator/model/replication_group.h"

namespace regroup::model {

// What the last attempts to talk to an engine mean (design section 1.2).
enum class Reach {
  kUnknown,      // no attempt has ended yet, or there is no address
  kAnswering,    // a reply within the deadline
  kRefused,      // the host answered that nobody listens: the process is not there
  kUnreachable,  // no TCP acknowledgement, or the network said unreachable: Gone
  kSilent,       // TCP acknowledges, no reply: Hung
  kDenied,       // it answers, but refuses our credentials: not one of ours, or a wrong Secret
};

struct ReplicaLine {  // one slaveN line of a primary's INFO
  std::string address;
  int port = 0;
  bool online = false;
  std::int64_t offset = 0;
  std::int64_t lag_seconds = 0;
  bool operator==(const ReplicaLine&) const = default;
};

struct EngineFacts {  // one INFO reply
  std::string run_id;
  std::string version;
  std::int64_t uptime_seconds = 0;
  bool is_primary = false;
  std::string repl_id;
  std::string repl_id2;
  std::int64_t offset = 0;              // master_repl_offset, or a replica's slave_repl_offset
  std::int64_t second_repl_offset = -1; // up to which repl_id2 holds
  std::string primary_host;             // replica only
  int primary_port = 0;
  bool link_up = false;
  std::int64_t last_io_seconds = -1;    // master_last_io_seconds_ago
  std::int64_t link_down_seconds = -1;
  std::int64_t read_offset = 0;         // slave_read_repl_offset
  bool sync_in_progress = false;
  bool loading = false;
  bool disk_failed = false;             // its file takes no more: a primary then refuses writes
  bool guard_on = false;                // min_slaves_good_slaves is shown only while it is on
  std::int64_t good_replicas = 0;
  std::int64_t keys = 0;                // over all databases
  std::int64_t used_memory_bytes = 0;
  std::vector<ReplicaLine> replicas;    // primary only

  // Born or made fenced: a replica of an address that nobody can serve (rule born-fenced).
  bool fenced() const { return !is_primary && primary_host == "127.0.0.1" && primary_port == 1; }
};

// What is known of one engine process, kept by the fleet across polls.
struct EngineView {
  Reach reach = Reach::kUnknown;
  MonoMs reach_since = 0;            // since when `reach` has been what it is
  Reach reach_was = Reach::kUnknown; // before that
  std::optional<EngineFacts> facts;  // the last INFO, however old
  MonoMs facts_at = 0;
  MonoMs last_heard = 0;             // the last byte of any reply
  MonoMs offset_still_since = 0;     // since when read_offset has been seen unchanged
  MonoMs fenced_since = 0;           // 0: not fenced in the last INFO
  MonoMs link_down_since = 0;        // 0: link up in the last INFO
  // Of a primary: since which INFO a replica's lag has been more than a second, by its address.
  std::map<std::string, MonoMs> late_since;
  // Proof (a): a FIN (not an RST) on an idle connection to run `fin_run_id`, then a refusal.
  std::string fin_run_id;
  MonoMs fin_at = 0;
  MonoMs refused_at = 0;             // the last refusal after that FIN; 0: none
  // Of our live control connection; 0: none. Another operator's change of the engine ends it.
  std::uint64_t control_token = 0;
  bool busy = false;                 // -BUSY: alive, in a script
};

// The engine's settings by name; nearly always the same for all members, and for many groups.
using Settings = Interned<std::map<std::string, std::string>>;

struct PodView {
  std::string name;
  std::string uid;
  std::string resource_version;
  std::string ip;
  std::string node;
  std::string zone;          // the zone that the plan chose for it (annotation)
  std::string role_label;
  std::string spec_hash;     // hash of the rendered pod, for drift
  Settings born_with;        // what only a restart changes, as it was at birth
  std::string image;
  MonoMs first_seen = 0;     // by our clock: for "elsewhere after a set time"
  bool deleting = false;
  bool scheduled = false;
  bool unschedulable = false;
  bool ready = false;
  bool failed = false;       // phase Failed or Succeeded: this pod will never run again
  bool running = false;      // the engine container runs
  std::string container_id;
  WallMs started_wall_ms = -1;        // of the running container, by its node's clock
  std::string waiting_reason;         // e.g. CrashLoopBackOff, ImagePullBackOff
  std::string waiting_message;
  int restart_count = 0;
  std::string terminated_container_id;  // the last one that the kubelet reported as terminated
  std::string terminated_reason;        // ContainerStatusUnknown proves nothing
};

struct NodeView {
  std::string name;
  std::string zone;
  bool ready = false;
  bool schedulable = false;     // not cordoned, no taint that the group does not tolerate
  bool draining = false;        // cordoned, or tainted by an autoscaler that removes it
  bool out_of_service = false;  // taint node.kubernetes.io/out-of-service
};

struct Member {
  std::string uid;
  std::string name;
  std::optional<PodView> pod;  // none: the object is gone, the process may not be
  std::optional<PodView> departed;  // what was last seen of an object that is gone
  EngineView engine;
};

enum class OwnedKind {
  kSecret, kConfigMap, kPrimaryService, kReaderService, kPrimaryBudget, kReplicaBudget,
};

enum class OwnedState {
  kAbsent,
  kCurrent,
  kOutdated,  // ours, but not as rendered now
  kForeign,   // of that name, with another controller: refused, named in Stalled
};

struct SliceEndpoint {
  std::string uid;  // of the member's pod
  std::string name;
  std::string address;
  std::string node;
  std::string zone;
  bool operator==(const SliceEndpoint&) const = default;
};

enum class SliceKind { kPrimary, kReader };

struct SliceView {
  bool exists = false;
  bool foreign = false;
  std::string resource_version;
  std::int64_t epoch = 0;
  std::vector<SliceEndpoint> endpoints;  // sorted by name
};

struct VolumeView {  // a PVC of the group
  std::string name;
  std::string uid;
  std::string resource_version;
  std::string member_name;
  bool deleting = false;
  bool foreign = false;  // of another group, such as an earlier one of the same name
  bool bound = false;    // made: it stays where it is
  std::string node{};    // that it was made for; "": not told
};

// What this process did and saw in the current leadership; lost with it, and then earned again.
struct Memory {
  // An engine change that this operator's own authority made and the engine acknowledged.
  struct Ack {
    std::string run_id;
    MonoMs at = 0;
    std::int64_t offset = 0;  // of the INFO inside the transaction
    std::uint64_t token = 0;  // of the connection that it was made on
  };
  std::map<std::string, Ack> fenced;            // by UID; rule proof (b), and detaches
  std::map<std::string, Ack> changed;           // by UID: the last change of any kind
  std::map<std::string, Ack> guarded;           // by UID: the guard that this leadership put on
  std::map<std::string, std::string> confirmed; // by UID: the run that a live read found to be its
  std::map<std::string, int> clients_cut;       // by UID: steps of old-clients done
  std::map<std::string, MonoMs> demoted_at;     // by UID
  std::map<std::string, MonoMs> endpoint_left;  // by address that the primary's endpoint named
  std::map<std::string, Settings> applied_parameters;  // by run id
  std::map<std::string, std::string> applied_acl;  // by run id: hash of the ACL set live
  std::map<std::string, MonoMs> node_lost_since;   // by zone: for zone_wait_seconds
  std::map<std::string, MonoMs> ready_since;       // by node: Ready without a break since then
  std::map<std::string, MonoMs> vanished_since;    // by UID: a member whose pod object is gone
  std::set<std::string> no_node_took;  // names whose last pod waited for zone_wait_seconds in vain
  std::map<std::string, MonoMs> shut_at;  // by run id or pod UID: when its end was last asked for
  std::string ended_run;  // of the recorded primary, once its process is proven to have ended…
  MonoMs ended_at = 0;    // …and when that was first seen
  MonoMs proxies_synced_at = 0;  // when kube-proxies last followed a slice, or are going to
  MonoMs switch_given_up_at = 0;          // when a switchover last went back; 0: none did
  // The transition under way, for the stages' times; 0 where another leader did it.
  std::string decided_id;
  MonoMs decided_at = 0;
  MonoMs promoted_at = 0;
  MonoMs endpoint_at = 0;
  MonoMs leading_since = 0;
};

struct Observed {
  MonoMs now = 0;
  WallMs wall_now = 0;
  Group group;
  std::vector<Member> members;  // every pod of the group, and every UID that the record names
  std::vector<NodeView> nodes;
  std::map<OwnedKind, OwnedState> owned;
  bool passwords_known = false;  // those that the members were born with
  SliceView primary_slice;
  SliceView reader_slice;
  std::vector<VolumeView> volumes;
  Memory memory;
  // Live parameters of the spec that CONFIG SET can apply (name -> value), from render.
  std::map<std::string, std::string> live_parameters;
  std::vector<std::string> restart_parameters;  // differ from what the pod was born with
  std::string acl_hash;  // of the default user's rule as rendered now
  std::string resolve_error;  // the catalogue cannot serve this spec, and why
  std::string last_error;     // why the last round could not do all it wanted; empty: it could
  std::vector<std::string> taken_names;  // of pods that hold our names but are not this group's

  const Member* FindMember(const std::string& uid) const {
    for (const Member& member : members) {
      if (member.uid == uid) return &member;
    }
    return nullptr;
  }
};

}  // namespace regroup::model
