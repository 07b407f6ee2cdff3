// One connection that somebody opened to an engine of the farm: RESP in, the model's answers out.
// Thread: the farm's. Lifetime: shared; its own callbacks keep it alive until it is closed.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <asio.hpp>

#include "operator/redis/resp_codec.h"
#include "tests/bench/scale/farm_info.h"
#include "tests/sim/fake_engine.h"

namespace regroup::bench {

class FarmClient : public std::enable_shared_from_this<FarmClient> {
 public:
  struct Hooks {
    std::function<void()> before;   // a command came: move the model's clock to now
    std::function<void()> changed;  // a transaction ran: it may have cut off other connections
    std::function<void()> closed;   // the other side is gone
  };

  FarmClient(asio::ip::tcp::socket socket, sim::Engine* engine, const InfoText* info);
  void Start(Hooks hooks);
  void Close();
  // True where the engine has cut this connection off (CLIENT KILL).
  bool CutOff() const { return control_ != 0 && !engine_->HasControl(control_); }

 private:
  void Read();
  void OnRead(std::size_t size);
  void Run(const std::vector<std::string>& words);
  void RunTransaction();
  std::string One(const std::vector<std::string>& words);
  void Write();

  asio::ip::tcp::socket socket_;
  sim::Engine* engine_;
  const InfoText* info_;
  Hooks hooks_;
  redis::RespDecoder decoder_;
  std::array<char, 2048> buffer_{};
  std::string out_;
  std::string writing_;
  bool authenticated_ = false;
  bool closed_ = false;
  bool in_transaction_ = false;
  std::vector<std::vector<std::string>> queued_;
  std::uint64_t control_ = 0;  // the model's number for the operator user's connection; 0: none
};

}  // namespace regroup::bench
