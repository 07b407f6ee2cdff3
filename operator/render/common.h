// What every rendered object shares. Internal to render/.
#pragma once

#include <string>

#include "operator/base/json.h"
#include "operator/model/replication_group.h"

namespace regroup::render {

Json Labels(const model::Group& group);
Json OwnerReferences(const model::Group& group);
// metadata with name, namespace, labels; `owned` adds the controller reference.
Json Metadata(const model::Group& group, const std::string& name, bool owned);
// Adds the hash of all that is there so far as an annotation.
void Seal(Json& object);

}  // namespace regroup::render
