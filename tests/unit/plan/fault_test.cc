// Failure told apart by its kind (design 1.2), proof (a) and (d), not-on-one-view.
#include "operator/plan/fault_kind.h"

#include <gtest/gtest.h>

#include "tests/unit/plan/world.h"

namespace regroup::plan::testing {
namespace {

struct FaultRow {
  const char* name;
  std::function<void(World&)> given;
  FaultKind kind;
};

void CheckFaults(const std::vector<FaultRow>& rows) {
  for (const FaultRow& row : rows) {
    SCOPED_TRACE(std::string("row: ") + row.name);
    World world;
    row.given(world);
    const Fault fault = PrimaryFault(world.seen, world.options);
    EXPECT_EQ(static_cast<int>(fault.kind), static_cast<int>(row.kind)) << fault.words;
  }
}

void BothStill(World& w, std::int64_t ms) { w.Still(2, ms).Still(3, ms); }

TEST(FaultKind, Dead) {
  CheckFaults({
      {"healthy", [](World&) {}, FaultKind::kNone},
      {"FIN, refused, all links down", [](World& w) { w.Die(1); }, FaultKind::kDead},
      {"FIN and refused, one link still up",
       [](World& w) { w.Die(1); w.facts(3).link_up = true; }, FaultKind::kSuspected},
      {"FIN and refused, one link's word is older than the FIN",
       [](World& w) { w.Die(1); w.engine(3).facts_at = kNow - 60; }, FaultKind::kSuspected},
      {"FIN and refused, the third does not answer: it has no say",
       [](World& w) { w.Die(1); w.Lose(3, 200); }, FaultKind::kDead},
      {"FIN, not yet refused", [](World& w) { w.Die(1); w.engine(1).refused_at = 0; },
       FaultKind::kSuspected},
      {"refused without FIN (an RST, a port that nobody opened)",
       [](World& w) { w.Die(1); w.engine(1).fin_run_id.clear(); w.engine(1).fin_at = 0; },
       FaultKind::kSuspected},
      {"the FIN was of another run", [](World& w) { w.Die(1); w.engine(1).fin_run_id = "run-0"; },
       FaultKind::kSuspected},
      {"a refusal from before the FIN",
       [](World& w) { w.Die(1); w.engine(1).refused_at = w.engine(1).fin_at - 1; },
       FaultKind::kSuspected},
      {"the kubelet reports the recorded container's end",
       [](World& w) {
         w.Die(1);
         w.engine(1).fin_run_id.clear();
         w.pod(1).terminated_container_id = "containerd://c1";
         w.pod(1).terminated_reason = "OOMKilled";
       },
       FaultKind::kDead},
      {"ContainerStatusUnknown proves nothing",
       [](World& w) {
         w.Die(1);
         w.engine(1).fin_run_id.clear();
         w.pod(1).terminated_container_id = "containerd://c1";
         w.pod(1).terminated_reason = "ContainerStatusUnknown";
       },
       FaultKind::kSuspected},
      {"the end of another container proves nothing",
       [](World& w) {
         w.Die(1);
         w.engine(1).fin_run_id.clear();
         w.pod(1).terminated_container_id = "containerd://c0";
         w.pod(1).terminated_reason = "Error";
       },
       FaultKind::kSuspected},
  });
}

TEST(FaultKind, RestartedAndFenced) {
  CheckFaults({
      {"another process answers", [](World& w) { w.Restart(1); }, FaultKind::kRestarted},
      {"the granted process answers, fenced", [](World& w) { w.Fence(1); },
       FaultKind::kNotPrimary},
      {"its last answer is 1,120 ms old", [](World& w) { w.engine(1).last_heard = kNow - 1120; },
       FaultKind::kNone},
      {"its last answer is 1,121 ms old", [](World& w) { w.engine(1).last_heard = kNow - 1121; },
       FaultKind::kSuspected},
      {"busy in a script", [](World& w) { w.Hang(1, 60'000); w.engine(1).busy = true;
         BothStill(w, 9000); }, FaultKind::kSuspected},
  });
}

TEST(FaultKind, Gone) {
  CheckFaults({
      {"1,499 ms", [](World& w) { w.Lose(1, 1499); BothStill(w, 1500); }, FaultKind::kSuspected},
      {"1,500 ms, both replicas stand still", [](World& w) { w.Lose(1, 1500); BothStill(w, 1500); },
       FaultKind::kGone},
      {"1,500 ms, one replica's offset moved 1,249 ms ago",
       [](World& w) { w.Lose(1, 1500); w.Still(2, 1500).Still(3, 1249); }, FaultKind::kSuspected},
      {"links down agree as well",
       [](World& w) { w.Lose(1, 1500); w.LinkDown(2).LinkDown(3); }, FaultKind::kGone},
      {"a replica's word older than the suspicion is none",
       [](World& w) { w.Lose(1, 1500); BothStill(w, 9000); w.engine(3).facts_at = kNow - 1500; },
       FaultKind::kSuspected},
      {"a replica that does not answer has no say",
       [](World& w) { w.Lose(1, 1500); w.Still(2, 1500).Lose(3, 1500); }, FaultKind::kGone},
      {"all are silent: the fault is ours",
       [](World& w) { w.Lose(1, 9000).Lose(2, 9000).Lose(3, 9000); }, FaultKind::kSuspected},
      {"all but the primary are silent, with old answers",
       [](World& w) {
         w.Lose(1, 9000);
         BothStill(w, 9000);
         w.engine(2).last_heard = w.engine(3).last_heard = kNow - 1121;
       },
       FaultKind::kSuspected},
      {"a replica that is not in sync yet hears it, too",
       [](World& w) {
         w.Lose(1, 1500);
         w.Still(2, 1500).Still(3, 100);
         w.record().in_sync.pop_back();
       },
       FaultKind::kSuspected},
      {"but not while it is filled",
       [](World& w) {
         w.Lose(1, 1500);
         w.Still(2, 1500).Still(3, 100).LinkDown(3);
         w.record().in_sync.pop_back();
       },
       FaultKind::kGone},
      {"nor by a link to somebody else",
       [](World& w) {
         w.Lose(1, 1500);
         w.Still(2, 1500).Still(3, 100);
         w.facts(3).primary_host = "10.0.0.9";
         w.record().in_sync.pop_back();
       },
       FaultKind::kGone},
      {"one whose last word is old, with its link up, is asked first",
       [](World& w) {
         w.Lose(1, 1500);
         BothStill(w, 1500);
         w.engine(3).last_heard = kNow - 1121;
       },
       FaultKind::kSuspected},
      {"with its link down there is nothing to ask",
       [](World& w) {
         w.Lose(1, 1500);
         w.Still(2, 1500).LinkDown(3);
         w.engine(3).last_heard = kNow - 1121;
       },
       FaultKind::kGone},
      {"a replica that is fenced already has no veto",
       [](World& w) { w.Lose(1, 1500); w.Still(2, 1500).Fence(3); }, FaultKind::kGone},
      {"the limit is the spec's",
       [](World& w) {
         w.Lose(1, 1999);
         BothStill(w, 5000);
         w.spec().failover.unreachable_after_ms = 2000;
       },
       FaultKind::kSuspected},
  });
}

TEST(FaultKind, AReplicaThatHearsThePrimaryStays) {
  CheckFaults({
      {"its last bytes are 2 s old by its own clock, and its offset moves",
       [](World& w) {
         w.Lose(1, 1500);
         w.Still(2, 1500).Still(3, 1000);
         w.facts(3).last_io_seconds = 2;
       },
       FaultKind::kSuspected},
      {"its last bytes are 3 s old: it hears nothing",
       [](World& w) {
         w.Lose(1, 3000);
         w.Still(2, 3000).Still(3, 1000);
         w.facts(3).last_io_seconds = 3;
       },
       FaultKind::kGone},
  });
}

TEST(FaultKind, Hung) {
  CheckFaults({
      {"4,749 ms", [](World& w) { w.Hang(1, 4749); BothStill(w, 4000); }, FaultKind::kSuspected},
      {"4,750 ms: the rest is for the way of the order and what follows on the process's end",
       [](World& w) { w.Hang(1, 4750); BothStill(w, 4000); }, FaultKind::kHung},
      {"949 of 1,000 ms",
       [](World& w) { w.spec().failover.unresponsive_after_ms = 1000; w.Hang(1, 949);
         BothStill(w, 949); }, FaultKind::kSuspected},
      {"5,000 ms, but a replica hears it",
       [](World& w) { w.Hang(1, 5000); w.Still(2, 4000).Still(3, 300); }, FaultKind::kSuspected},
      {"connection refused is no hang: the short limit holds",
       [](World& w) { w.Hang(1, 1500); w.engine(1).reach = model::Reach::kRefused;
         BothStill(w, 1500); }, FaultKind::kGone},
  });
}

TEST(FaultKind, VanishedAndUnseen) {
  CheckFaults({
      {"no such member at all", [](World& w) { w.seen.members.erase(w.seen.members.begin()); },
       FaultKind::kVanished},
      {"the pod object is gone, the process is quiet", [](World& w) { w.Lose(1, 1200).Vanish(1); },
       FaultKind::kVanished},
      {"the pod object is gone, the process answers", [](World& w) { w.Vanish(1); },
       FaultKind::kNone},
      {"the pod object is gone, FIN and refusal were seen", [](World& w) { w.Die(1).Vanish(1); },
       FaultKind::kDead},
      {"a new operator has not heard of it yet",
       [](World& w) { w.engine(1) = model::EngineView{}; }, FaultKind::kUnseen},
  });
}

TEST(Proof, OfANodeThatIsOut) {
  CheckFaults({
      {"the out-of-service taint, and silence",
       [](World& w) { w.Lose(1, 200).LinkDown(2).LinkDown(3); w.node(1).out_of_service = true; },
       FaultKind::kDead},
      {"the out-of-service taint, but it answers",
       [](World& w) { w.node(1).out_of_service = true; },
       FaultKind::kNone},
      {"its Node object is gone",
       [](World& w) { w.Lose(1, 200).LinkDown(2).LinkDown(3); w.seen.nodes.erase(
           w.seen.nodes.begin()); }, FaultKind::kDead},
      {"no Node at all: our cache is at fault",
       [](World& w) { w.Lose(1, 200).LinkDown(2).LinkDown(3); w.seen.nodes.clear(); },
       FaultKind::kSuspected},
      {"a node that is merely not ready proves nothing",
       [](World& w) { w.Lose(1, 200).LinkDown(2).LinkDown(3); w.node(1).ready = false; },
       FaultKind::kSuspected},
  });
}

}  // namespace
}  // namespace regroup::plan::testing
