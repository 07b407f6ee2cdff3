// From what a poll showed to MemberFacts, and whether the group's key must be woken.
// Thread: pure functions.
#pragma once

#include "operator/redis/fleet.h"

namespace regroup::redis {

enum class Ended { kFin, kReset, kRefused, kUnreachable, kTimeout, kDenied, kOther };

struct Wake {
  bool wake = false;
  bool urgent = false;
};

Wake OnInfo(MemberFacts& facts, const Info& info, MonoMs now);
Wake OnReach(MemberFacts& facts, Reach reach, MonoMs now);
// The idle connection ended: only an orderly end (FIN) is evidence (rule proof a).
Wake OnIdleEnded(MemberFacts& facts, Ended how, MonoMs now);
// A connection attempt failed.
Wake OnConnectFailed(MemberFacts& facts, Ended how, MonoMs now);

}  // namespace regroup::redis
