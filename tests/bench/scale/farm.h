// Thousands of engines in one process: each pod's address has its own listening socket, so a dead
// engine's address refuses as a real one does, and its connections end as the kernel ends them.
// The engines are the simulator's model, whose clock follows the real one here.
// Thread: one, the io_context's.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <asio.hpp>

#include "operator/base/clock.h"
#include "tests/bench/scale/farm_client.h"
#include "tests/bench/scale/farm_info.h"
#include "tests/bench/scale/pods.h"
#include "tests/sim/fake_engine.h"

namespace regroup::bench {

struct FarmEvent {
  std::string what;  // "killed", "promoted"
  PodFacts pod;
  MonoMs at = 0;
};

struct FarmCounts {
  std::size_t engines = 0;
  std::size_t connections = 0;
};

class Farm final : public sim::EngineObserver {
 public:
  using EventFn = std::function<void(const FarmEvent&)>;
  using RestartedFn = std::function<void(const PodFacts& pod, WallMs started, int count)>;

  Farm(asio::io_context& io, const Clock& clock, const std::string& recorded_info,
       EventFn on_event, RestartedFn on_restarted);

  void Seen(const PodFacts& pod);        // starts its engine once its container runs
  void Gone(const std::string& uid);
  // Ends the processes of all these addresses at one time, as kill -9 does; they are started again
  // as a kubelet does it, a while later.
  void Kill(const std::vector<std::string>& addresses);
  FarmCounts Counts() const;

  void OnFullSync(const sim::Engine&, int, const sim::Engine&) override {}
  void OnPromoted(const sim::Engine& engine) override;
  void OnDeath(const sim::Engine& engine) override;

 private:
  struct Process {
    PodFacts pod;
    sim::Engine* engine = nullptr;
    std::unique_ptr<asio::ip::tcp::acceptor> acceptor;
    std::set<std::shared_ptr<FarmClient>> clients;
    int restarts = 0;
    bool ending = false;  // its pod is gone
  };

  void Tick();
  void Advance();
  bool Start(Process& process);
  void RestartLater(const std::string& uid);
  void Accept(const std::string& uid);
  void CutOff(const std::string& uid);
  void CloseSockets(Process& process);

  asio::io_context& io_;
  const Clock& clock_;
  const InfoText info_;
  EventFn on_event_;
  RestartedFn on_restarted_;
  sim::World world_{1};
  sim::Network network_;
  sim::History history_;
  sim::Engines engines_{&world_, &network_, &history_};
  const MonoMs world_behind_ms_;  // the real clock less the model's
  asio::steady_timer tick_;
  std::map<std::string, std::unique_ptr<Process>> processes_;  // by pod UID
};

}  // namespace regroup::bench
