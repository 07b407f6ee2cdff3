// The engine's users of a group (design 4, authority; parity notes a.6): `default` for
// applications without the commands that ElastiCache restricts, and three internal ones.
// Thread: pure functions. Passwords appear only as SHA-256 in the ACL file.
#pragma once

#include <string>
#include <vector>

#include "operator/model/replication_group.h"
#include "operator/render/objects.h"

namespace regroup::render {

inline constexpr char kOperatorUser[] = "regroup-operator";
inline constexpr char kWatchUser[] = "regroup-watch";
inline constexpr char kReplicationUser[] = "regroup-replication";

// The words after `ACL SETUSER default` (reset first), and of each internal user.
std::vector<std::string> DefaultUserRules(model::Engine engine, const GroupSecrets& secrets);
std::vector<std::string> OperatorUserRules(const GroupSecrets& secrets);
std::vector<std::string> WatchUserRules(const GroupSecrets& secrets);
std::vector<std::string> ReplicationUserRules(const GroupSecrets& secrets);
// The aclfile: one `user NAME …` line each.
std::string AclFile(model::Engine engine, const GroupSecrets& secrets);
std::string Sha256Hex(const std::string& text);

}  // namespace regroup::render
