// Desired objects as JSON, pure: the same group gives the same bytes. Each carries a controller
// owner reference (but PVCs), the labels of labels.h, and its own hash as an annotation.
// Thread: pure functions. Errors: none; a spec that cannot be rendered never gets here.
#pragma once

#include <string>

#include "operator/base/json.h"
#include "operator/model/catalogue.h"
#include "operator/model/observed.h"
#include "operator/model/plan.h"
#include "operator/model/replication_group.h"

namespace regroup::render {

inline constexpr char kManagedByLabel[] = "app.kubernetes.io/managed-by";  // = "regroup"
inline constexpr char kGroupLabel[] = "regroup.dev/group";                 // = the group's name
inline constexpr char kGroupUidLabel[] = "regroup.dev/group-uid";          // rule one-group
inline constexpr char kRoleLabel[] = "regroup.dev/role";                   // primary | replica
inline constexpr char kZoneAnnotation[] = "regroup.dev/zone";
inline constexpr char kBornWithAnnotation[] = "regroup.dev/born-with";  // see BornWith
inline constexpr char kPasswordsAnnotation[] = "regroup.dev/passwords";  // see PasswordsMark
inline constexpr char kHashAnnotation[] = "regroup.dev/spec-hash";
inline constexpr char kEpochAnnotation[] = "regroup.dev/epoch";
inline constexpr char kEngineContainer[] = "engine";
inline constexpr char kManagedByValue[] = "regroup";

// The generated secrets of one group. Passwords are 32 random bytes as hex; made once.
struct GroupSecrets {
  std::string operator_password;
  std::string watch_password;
  std::string replication_password;
  std::string default_password;  // from authSecretRef; empty: the default user is open
};

enum class BudgetKind { kPrimary, kReplica };

std::string SecretName(const model::GroupMeta& meta);
std::string ConfigMapName(const model::GroupMeta& meta);
std::string PrimaryServiceName(const model::GroupMeta& meta);
std::string ReaderServiceName(const model::GroupMeta& meta);
std::string DisruptionBudgetName(const model::GroupMeta& meta, BudgetKind kind);
std::string SliceName(const model::GroupMeta& meta, model::SliceKind kind);
std::string VolumeName(const std::string& member_name);
// "web-cache-001"; index from 1.

Json Secret(const model::Group& group, const GroupSecrets& secrets);
// The generated ones; default_password is not among them.
bool SamePasswords(const GroupSecrets& one, const GroupSecrets& other);
// Tells two sets of generated passwords apart and gives none away, as each is long and random. A
// pod bears the mark of those that it was born with. "": there are none.
std::string PasswordsMark(const GroupSecrets& secrets);
// {} where the object holds no passwords of ours.
GroupSecrets ParseSecret(const Json& secret);
// One value of any Secret, decoded; for authSecretRef.
std::string SecretValue(const Json& secret, const std::string& key);
Json ConfigMap(const model::Group& group, const model::Resolved& resolved);
Json Service(const model::Group& group, model::SliceKind kind);
// Two, by the role label: an eviction of the primary waits until a switchover has moved the role,
// and replicas go one by one.
Json PodDisruptionBudget(const model::Group& group, BudgetKind kind);
Json Pod(const model::Group& group, const model::Resolved& resolved, const std::string& name,
         const std::string& zone);
Json Volume(const model::Group& group, const std::string& member_name);
Json EndpointSlice(const model::Group& group, const model::WriteSlice& write);
Json Event(const model::Group& group, const model::EmitEvent& event, WallMs wall_now,
           const std::string& reporting_instance, std::uint64_t mark);

// The hash that a rendered object carries (stable text of its content; FNV-1a 64, hex).
std::string HashOf(const Json& object);
// That hash as the object carries it, and a hash of what it holds as data: a human who edits the
// data leaves the first one as it was. What else an object holds, the API server completes.
std::string FingerprintOf(const Json& object);

// redis.conf of the group (redis_conf.cc), the parts that CONFIG SET can change live, and the names
// of spec parameters that need a restart. The ACL file's users are in acl.h.
std::string RedisConf(const model::Group& group, const model::Resolved& resolved);
std::map<std::string, std::string> LiveParameters(const model::Group& group,
                                                  const model::Resolved& resolved);

// What takes effect only when a member is made anew: parameters that need a restart, the image, the
// resources. Kept on the pod, so that a difference can be reported as pending.
std::map<std::string, std::string> BornWith(const model::Group& group,
                                            const model::Resolved& resolved);

}  // namespace regroup::render
