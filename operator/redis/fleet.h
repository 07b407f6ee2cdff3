// The port to the engines: who is watched, the latest facts about each, and commands with
// authority. Production: one Asio thread (asio_fleet.h). The simulator implements the same port.
// Thread: every method may be called from any thread; the wake callback runs on the Asio thread and
// must only hand over. Source: design sections 1.2, 3 (rule authority) and the redis part of the
// main-job issue.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "operator/base/clock.h"
#include "operator/base/error.h"
#include "operator/redis/info.h"

namespace regroup::redis {

// Credentials of one group's two internal users; never logged.
struct Credentials {
  std::string watch_user;      // read-only: INFO, PING
  std::string watch_password;
  std::string control_user;    // the operator user: changes
  std::string control_password;
  bool tls = false;
  std::string ca_pem;          // tls only
  bool operator==(const Credentials&) const = default;
};

struct Target {
  std::string uid;      // the pod's UID names the member
  std::string address;  // pod IP, v4 or v6 literal
  int port = 0;
  bool operator==(const Target&) const = default;
};

// See pace.h: a pure function of these.
enum class Pace { kRest, kSuspect, kUrgent };

enum class Reach { kUnknown, kAnswering, kRefused, kUnreachable, kSilent, kDenied };

// What is known of one engine, kept across polls; times are the operator's MonoMs. Tracked by the
// pure functions in track.h. A new address or UID starts from nothing.
struct MemberFacts {
  Reach reach = Reach::kUnknown;
  MonoMs reach_since = 0;
  Reach reach_was = Reach::kUnknown;  // what `reach` was before
  std::optional<Info> info;        // the last one, however old
  MonoMs info_at = 0;              // when its reply arrived
  MonoMs last_heard = 0;           // last reply bytes
  MonoMs offset_still_since = 0;   // since when info.read_offset has been seen unchanged
  MonoMs fenced_since = 0;         // since when INFO says replica of 127.0.0.1:1; 0: it does not
  MonoMs link_down_since = 0;      // since when a replica's INFO says link down; 0: up or primary
  // Of a primary: since which INFO a replica's lag has been more than a second, by its address.
  std::map<std::string, MonoMs> late_since;
  std::string fin_run_id;          // run whose idle connection ended in order (FIN, not RST)
  MonoMs fin_at = 0;
  MonoMs refused_at = 0;           // connection refused after that FIN, same address; 0: none yet
  bool busy = false;
  // Of the live control connection; 0: there is none. Whoever else changes the engine ends it.
  std::uint64_t control_token = 0;
};

// One authenticated control connection. A command is accepted only on the very connection that the
// authority (CAS or live GET) was obtained after; once it is lost, the token is worth nothing.
struct Session {
  std::string uid;
  std::uint64_t token = 0;
};

struct Command {
  Session session;
  std::string expected_run_id;  // checked against the connection's INFO after its AUTH; empty: any
  std::vector<std::vector<std::string>> transaction;  // sent as MULTI … EXEC in one write
  // One command, sent as it is: SHUTDOWN is refused inside MULTI. Its answer is the end of the
  // connection, which counts as done; a busy engine is sent nothing else.
  bool alone = false;
};

// The replies of the EXEC, flattened to text ("OK", a bulk, an error with its "-").
struct CommandReply {
  std::vector<std::string> replies;
  MonoMs answered_at = 0;
  std::uint64_t token = 0;  // of the session that it was executed on
};

class Fleet {
 public:
  virtual ~Fleet() = default;

  // Replaces the whole set of `group` ("namespace/name"). Connections of unchanged targets stay.
  // A target that is left out is closed and forgotten; an empty set forgets the group.
  virtual void SetTargets(const std::string& group, const Credentials& credentials,
                          const std::vector<Target>& targets) = 0;
  virtual void SetPace(const std::string& group, Pace pace) = 0;
  // Asks every member of the group now, outside the schedule.
  virtual void Poke(const std::string& group) = 0;

  virtual std::map<std::string, MemberFacts> Facts(const std::string& group) const = 0;

  // Makes sure that each member has an authenticated control connection; opens those that lack one.
  // Answers in the order of `uids`; kUnavailable, kDeadlineExceeded or kForbidden (AUTH refused).
  virtual std::vector<Result<Session>> Prepare(const std::string& group,
                                               const std::vector<std::string>& uids,
                                               std::int64_t timeout_ms) = 0;
  // Sends all at once and waits for all, at most timeout_ms. kConflict: the session or the run ID
  // is not the one that was meant, nothing was sent. kDeadlineExceeded or kUnavailable after
  // sending: unknown outcome; the connection is closed, so the command cannot execute late on it
  // unless it was in the engine's buffer already.
  virtual std::vector<Result<CommandReply>> Execute(const std::string& group,
                                                    const std::vector<Command>& commands,
                                                    std::int64_t timeout_ms) = 0;
  // Closes every control connection (leadership lost); watching goes on.
  virtual void DropControl() = 0;
};

// Called when a group's picture changed: an EOF, a new role, run ID, link state, reach or replica
// set; `urgent` for a lost connection or a reach that got worse.
using WakeFn = std::function<void(const std::string& group, bool urgent)>;

}  // namespace regroup::redis
