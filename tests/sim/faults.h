// What goes wrong in a seed's schedule, drawn by swarm testing: each seed leaves some kinds out.
// Source: notes reliability E (fault matrix), FoundationDB's swarm.
// Thread: one.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/scene.h"

namespace regroup::sim {

class FaultScene : public Scene {
 public:
  FaultScene(std::uint64_t seed, const SceneOptions& options)
      : Scene(seed, options), old_records_(options.old_records) {}

 protected:
  void DrawSwarm();
  void InjectLater();  // and again, while faults are on
  void StopFaults();
  bool Patch(const std::string& subresource, const Json& patch);  // of the group

  void DrawGroup();
  Json spec_;  // what the group is made with, and what it is to have in the end
  bool wiped_ = false;  // a human destroyed the record
  bool made_anew_ = false;
  bool faults_on_ = false;
  void HideFromOperators(const std::string& node, bool one_way);

 private:
  using Fault = void (FaultScene::*)();
  struct Kind {
    const char* name;
    Fault inject;
    bool on;
  };

  Engine* Victim();
  void Back(std::int64_t low_ms, std::int64_t high_ms, std::function<void()> undo);

  void KillEngine();
  void KillAll();
  void FreezeEngine();
  void LongScript();
  void CutNode();
  void PowerCut();
  void PowerCutOf(const std::string& node);
  void CutPrimaryFromOperators();
  void CutPair();
  void OneWay();
  void ApiOutage();
  void CutOperator();
  void CrashOperator();
  void PauseOperator();
  void TwoLeaders();
  void DeletePod();
  void ForceDeletePod();
  void DrainNode();
  void FlapNode();
  void Flap(const std::string& node, int times);
  void AskForPrimary();
  void TestFailover();
  void Scale();
  void LosePrimary();
  void WipeStatus();
  void DeleteObject();
  void ChangeSecret();
  void EditLabel();
  bool OperatorsKnowSecret() const;
  void MakeAnew();
  void CreateAgain();
  void KeepApplied(int times);
  void MakeAndTidy();
  void TakeOldVolumesAway();
  void Cordon(const std::string& node, bool on);
  void CompactApi();
  void StaleApi();
  void DeleteLease();
  void RestoreApi();

  const bool old_records_;
  std::optional<model::NodeGroupRecord> backup_record_;
  int tests_ = 0;
  std::vector<Kind> kinds_;
  std::int64_t fault_gap_ms_max_ = 8000;
};

}  // namespace regroup::sim
