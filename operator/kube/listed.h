// A list and its objects, held as text: thousands of parsed trees at one time would take ten times
// the room, and what is freed between the values that stay is not given back to the system.
// Thread: one at a time.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "operator/base/clock.h"
#include "operator/base/json.h"

namespace regroup::kube {

class Listed {
 public:
  void Add(const Json& object) {
    texts_.push_back(object.dump());
    texts_.back().shrink_to_fit();  // it grew by doubling
  }
  std::size_t size() const { return texts_.size(); }
  // Each object in turn; nothing of it is kept afterwards.
  void ForEach(const std::function<void(const Json& object)>& use) const {
    for (const std::string& text : texts_) {
      if (const Result<Json> object = ParseJson(text)) use(*object);
    }
  }

 private:
  std::vector<std::string> texts_;
};

// A whole set of objects, as one list or one run of initial events gave it.
struct ListedSet {
  Listed objects;
  std::string resource_version;
  // When it was asked for: what was known before is in it, or has been taken back by the server.
  MonoMs asked_at = 0;
  // Its version is below one seen earlier. A list is a consistent read, so the API server's store
  // was set back to an older state.
  bool rewound = false;
};

}  // namespace regroup::kube
