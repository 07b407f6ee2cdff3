// The objects of a list, held as text: thousands of parsed trees at one time would take ten times
// the room, and what is freed between the values that stay is not given back to the system.
// Thread: one at a time.
#pragma once

#include <functional>
#include <string>
#include <vector>

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

}  // namespace regroup::kube
