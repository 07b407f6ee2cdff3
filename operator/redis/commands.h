// The transactions that change an engine (design 4): pure builders. Each begins by cutting off the
// operator user's other connections (rule authority), so a deposed operator's buffered command dies
// with its connection. `CLIENT KILL` of applications names the user `default`, which spares our own
// watching connections.
// A member feeds replicas only while it is the primary: `replication_user` is off at birth, Promote
// turns it on, the others turn it off (rule following: flat topology, also for a replica that was
// frozen and comes back to an address whose member is a replica now).
// Thread: pure functions.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace regroup::redis {

using Transaction = std::vector<std::vector<std::string>>;

// The last reply of Fence, Detach, Promote, Follow, GuardOn and GuardOff is INFO replication.
Transaction Fence(const std::string& operator_user, const std::string& replication_user);
// A replica lets go of its primary and goes on serving what it has.
Transaction Detach(const std::string& operator_user, const std::string& replication_user);
Transaction Promote(const std::string& operator_user, const std::string& replication_user);
Transaction Follow(const std::string& operator_user, const std::string& replication_user,
                   const std::string& host, int port);
Transaction GuardOn(const std::string& operator_user);
Transaction GuardOff(const std::string& operator_user);
// For Command::alone. NOW: it waits for no replica; NOSAVE: the only form that a busy engine takes.
Transaction Shutdown();
// Only looks, with authority: an older leader's buffered commands die with their connections.
Transaction Look(const std::string& operator_user);
Transaction CutClients(const std::string& operator_user);
Transaction SetConfig(const std::string& operator_user,
                      const std::map<std::string, std::string>& config);
Transaction SetAcl(const std::string& operator_user, const std::vector<std::string>& default_rules);

}  // namespace regroup::redis
