// Which passwords a group's members know. They were born with them and never learn others, so each
// operator keeps them, leading or not, and the leader puts them back where a human deleted or
// changed the Secret.
// Thread: any worker, one group on one worker at a time.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "operator/model/replication_group.h"
#include "operator/render/objects.h"

namespace regroup::reconcile {

class Caches;
struct GroupState;

// Pure. `stored` is what the Secret holds ("": there is none), `marks` are those of the members
// that are seen. While no member is seen, what the Secret holds is right; as the watch of the pods
// may lag, what was known before stays in `former` until a member tells what it was born with.
void ChoosePasswords(const render::GroupSecrets& stored, const std::set<std::string>& marks,
                     render::GroupSecrets& known, std::vector<render::GroupSecrets>& former);

// The same from the caches.
void LearnPasswords(const Caches& caches, const model::Group& group, GroupState& state);

}  // namespace regroup::reconcile
