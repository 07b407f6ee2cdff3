// The INFO text of an engine of the farm: what the model says, filled up with the other lines of a
// recorded redis 7.0, so that a reply has the size and the sections of a real one.
// Thread: one.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tests/sim/fake_engine.h"

namespace regroup::bench {

class InfoText {
 public:
  // `recorded` is a whole INFO reply; the lines that the model tells are left out of it.
  explicit InfoText(const std::string& recorded);

  // `words` is the command: INFO, or INFO with the names of sections, as redis 7.0 takes them.
  std::string Of(const sim::Engine& engine, const std::vector<std::string>& words) const;

 private:
  std::vector<std::pair<std::string, std::string>> recorded_;  // section, its lines
};

}  // namespace regroup::bench
