// What a group at rest must get through, one thing at a time: losses of the operators' own view,
// which must change nothing (S8, S10), and moments that the drawn faults hit too seldom.
// Thread: one.
#pragma once

#include "tests/sim/faults.h"

namespace regroup::sim {

class DrillScene : public FaultScene {
 public:
  using FaultScene::FaultScene;

 protected:
  void Drill();  // one of them; the group is whole before and after it

 private:
  struct Untouched {  // what an outage of operators or of the API server leaves as it is
    std::int64_t epoch = 0;
    std::string run_id;
    std::size_t processes = 0;
    std::int64_t refused = 0;
    bool operator==(const Untouched&) const = default;
  };

  Untouched Look() const;
  void Outage(const char* rule, const std::string& what, std::int64_t ms);
  void ApiServerAway();
  void PrimaryUnseen();
  void NobodySeen();
  void OperatorsGone();
  void ShrinkWithoutPrimary();
};

}  // namespace regroup::sim
