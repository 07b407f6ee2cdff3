// Applications and the kube-proxies between them and the primary endpoint: one of each a node. A
// proxy follows the endpoint's slice with a lag of its own; a client writes through its proxy over
// one pooled connection, which it keeps as long as the other side does, whatever is answered.
// The oracle of rule old-clients: nobody may be left on a demoted primary for good.
// Thread: one.
#pragma once

#include <string>
#include <vector>

#include "tests/sim/api_server.h"
#include "tests/sim/checker.h"
#include "tests/sim/fake_engine.h"

namespace regroup::sim {

class Clients {
 public:
  Clients(World* world, Network* network, Engines* engines, ApiServer* server, Checker* checker);
  void AddNode(const std::string& node);
  void Start() { Tick(); }
  // Called once the faults have stopped and the proxies have caught up.
  void CheckNobodyIsStuck(std::int64_t longer_than_ms);

 private:
  struct Seat {  // a node's proxy and its client
    std::string node;
    std::string target;     // where the proxy sends new connections; empty: nowhere
    MonoMs behind_since = 0;  // since when it sends to another address than the slice's; 0: not
    MonoMs proxy_due = 0;   // when it learns of the slice's last change
    Engine* engine = nullptr;
    std::uint64_t connection = 0;
    MonoMs unanswered_since = 0;
    MonoMs refused_since = 0;  // -READONLY on this connection since then; 0: it was not
  };

  void OnChange(const Change& change);
  void OnDeleted();
  void Learn(std::size_t seat);
  void Tick();
  void Connect(Seat& seat);
  void Write(Seat& seat);
  void Drop(Seat& seat);

  World* world_;
  Network* network_;
  Engines* engines_;
  ApiServer* server_;
  Checker* checker_;
  std::string address_;  // in the primary's slice now
  std::vector<Seat> seats_;
};

}  // namespace regroup::sim
