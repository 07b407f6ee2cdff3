// The first station: caches + live engine facts + what this process did = one Observed value.
// Thread: any; reads the caches and the fleet, changes nothing but `rendered`.
#pragma once

#include <map>
#include <set>
#include <string>

#include "operator/model/catalogue.h"
#include "operator/model/observed.h"
#include "operator/reconcile/caches.h"
#include "operator/redis/fleet.h"

namespace regroup::reconcile {

// What follows from the spec and the secrets alone, kept between passes: rendering it costs more
// than all the rest of a pass. Made anew when its key changes.
struct Rendered {
  std::string key;    // UID, generation and passwords
  std::string error;  // the catalogue cannot serve this spec, and why
  model::Resolved resolved;
  std::map<model::OwnedKind, std::string> fingerprints;
  model::Settings live_parameters;
  model::Settings born_with;
  std::string acl_hash;
};

// What a pass knows beside the caches and the fleet.
struct Surroundings {
  const model::Catalogue* catalogue = nullptr;
  render::GroupSecrets secrets;  // as the members know them; empty until they are made
  std::string auth_error;        // not empty: it could not be read, and why
  std::string last_error;
  MonoMs now = 0;
  WallMs wall_now = 0;
};

// The generated passwords in the group's own Secret; empty where there is none.
render::GroupSecrets StoredSecrets(const Caches& caches, const model::Group& group);

model::EngineView EngineViewOf(const redis::MemberFacts& facts);

model::Observed Observe(const Caches& caches, const model::Group& group,
                        const std::map<std::string, redis::MemberFacts>& facts,
                        const model::Memory& memory, const Surroundings& around,
                        Rendered& rendered);

// Which engines the fleet watches: every pod with an address, and every member of the record whose
// pod object is gone, at the address it had, unless another pod has that address now.
std::vector<redis::Target> TargetsOf(const Caches& caches, const model::Group& group, MonoMs now);
// Members of the record whose pod object is gone.
std::set<std::string> VanishedUids(const Caches& caches, const model::Group& group, MonoMs now);
redis::Credentials CredentialsOf(const render::GroupSecrets& secrets);

}  // namespace regroup::reconcile
