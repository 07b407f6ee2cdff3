// redis::AsioFleet at the end of a process, step by step: in which order the kernel closes its
// sockets is a matter of microseconds with a real one (tests/contract/fleet_test.cc), so a listener
// plays it here.
#include <array>
#include <functional>
#include <future>
#include <string>
#include <thread>

#include <asio.hpp>
#include <gtest/gtest.h>

#include "tests/contract/watched_fleet.h"

namespace regroup::redis {
namespace {

using Tcp = asio::ip::tcp;

constexpr std::int64_t kAtOnceMs = 60;  // far less than the next turn of a member at rest

void Answer(Tcp::socket& socket, const std::string& reply) {
  std::array<char, 1024> question;
  socket.read_some(asio::buffer(question));
  asio::write(socket, asio::buffer(reply));
}

// Takes the watching and the idle connection, and then ends as it is told.
class Listener {
 public:
  using Script = std::function<void(Tcp::acceptor&, Tcp::socket& watch, Tcp::socket& idle)>;

  Listener()
      : acceptor_(io_, {asio::ip::address_v4::loopback(), 0}),
        port_(acceptor_.local_endpoint().port()), thread_([this] { Run(); }) {}
  ~Listener() {
    if (!ended_) End([](auto&, auto&, auto&) {});
    thread_.join();
  }
  void End(Script script) {
    ended_ = true;
    script_.set_value(std::move(script));
  }
  int port() const { return port_; }

 private:
  void Run() {
    const std::string info = "run_id:" + std::string(40, 'a') + "\r\nrole:master\r\n";
    Tcp::socket watch = acceptor_.accept();
    Answer(watch, "+OK\r\n");
    Answer(watch, "$" + std::to_string(info.size()) + "\r\n" + info + "\r\n");
    Tcp::socket idle = acceptor_.accept();
    Answer(idle, "+OK\r\n");
    script_.get_future().get()(acceptor_, watch, idle);
  }

  asio::io_context io_;
  Tcp::acceptor acceptor_;
  int port_;
  bool ended_ = false;
  std::promise<Script> script_;
  std::thread thread_;
};

class EndingTest : public WatchedFleet {
 protected:
  EndingTest() { Watch({"watch", "secret", "operator", "secret", false, ""}, listener_.port()); }

  // How long after the FIN the refusal was heard; -1: never.
  std::int64_t ProofMs(Listener::Script script) {
    const bool known = Until([](const MemberFacts& facts) { return facts.info.has_value(); });
    listener_.End(std::move(script));  // once it has the idle connection
    const bool proven = known && Until([](const MemberFacts& facts) {
      return facts.fin_at > 0 && facts.refused_at >= facts.fin_at;
    });
    return proven ? Facts().refused_at - Facts().fin_at : -1;
  }

  Listener listener_;
};

TEST_F(EndingTest, AnAttemptThatTheListenerStillTookIsMadeAgainAtOnce) {
  const std::int64_t proof_ms = ProofMs([](auto& acceptor, auto& watch, auto& idle) {
    idle.close();
    watch.close();
    Tcp::socket late = acceptor.accept();
    late.set_option(asio::socket_base::linger(true, 0));
    late.close();  // a reset, as of a connection that nobody accepted
    acceptor.close();
  });
  EXPECT_GE(proof_ms, 0);
  EXPECT_LE(proof_ms, kAtOnceMs);
}

TEST_F(EndingTest, ARefusalThatCameBeforeTheEndIsAskedForAgainAtOnce) {
  const std::int64_t proof_ms = ProofMs([](auto& acceptor, auto& watch, auto& idle) {
    acceptor.close();
    watch.close();
    SleepMs(110);
    idle.close();
  });
  EXPECT_GE(proof_ms, 0);
  EXPECT_LE(proof_ms, kAtOnceMs);
}

}  // namespace
}  // namespace regroup::redis
