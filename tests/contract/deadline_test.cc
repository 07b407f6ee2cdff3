// redis::Connection in a process that stands still past a deadline (SIGSTOP, a host that pauses):
// what arrived meanwhile counts, and only what did not arrive is late.
#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <thread>

#include <asio.hpp>
#include <gtest/gtest.h>

#include "operator/redis/connection.h"

namespace regroup::redis {
namespace {

using Tcp = asio::ip::tcp;
using std::chrono::milliseconds;

constexpr std::int64_t kDeadlineMs = 50;
constexpr milliseconds kStill{3 * kDeadlineMs};

// Answers each question once, as far as it has answers.
class Answering {
 public:
  explicit Answering(int answers)
      : acceptor_(io_, {asio::ip::address_v4::loopback(), 0}),
        port_(acceptor_.local_endpoint().port()), thread_([this, answers] { Run(answers); }) {}
  ~Answering() { thread_.join(); }
  int port() const { return port_; }

 private:
  void Run(int answers) {
    Tcp::socket socket = acceptor_.accept();
    std::array<char, 1024> question;
    asio::error_code ended;
    while (!ended) {
      socket.read_some(asio::buffer(question), ended);
      if (!ended && answers-- > 0) asio::write(socket, asio::buffer(std::string("+OK\r\n")), ended);
    }
  }

  asio::io_context io_;
  Tcp::acceptor acceptor_;
  int port_;
  std::thread thread_;
};

class DeadlineTest : public testing::Test {
 protected:
  void Open(int port, std::int64_t connect_timeout_ms) {
    Connection::Events events;
    events.on_end = [this](Ended how) { ended_ = how; };
    connection_ = std::make_shared<Connection>(
        io_, ConnectionOptions{"127.0.0.1", port, "watch", "secret", false, "", connect_timeout_ms},
        std::move(events));
    connection_->Open();
  }
  void RunUntilOpen() {
    for (int i = 0; i < 100 && !connection_->open(); ++i) io_.run_for(milliseconds(10));
  }
  void Ask() {
    connection_->Send("*1\r\n$4\r\nPING\r\n", 1, kDeadlineMs,
                      [this](Result<std::vector<Reply>> reply) { answered_ = reply.has_value(); });
  }
  void TearDown() override { connection_->Close(); }

  asio::io_context io_{1};
  std::shared_ptr<Connection> connection_;
  std::optional<Ended> ended_;
  std::optional<bool> answered_;
};

TEST_F(DeadlineTest, AnAnswerThatCameWhileWeStoodStillIsNotLate) {
  const Answering server(2);
  Open(server.port(), 1000);
  RunUntilOpen();
  ASSERT_TRUE(connection_->open());
  Ask();
  io_.poll();
  std::this_thread::sleep_for(kStill);
  io_.run_for(milliseconds(2 * kDeadlineMs));
  EXPECT_EQ(answered_, true);
  EXPECT_FALSE(ended_.has_value()) << "ended although it was answered";
  connection_->Close();
}

TEST_F(DeadlineTest, ALoginThatWasAnsweredWhileWeStoodStillIsNotLate) {
  const Answering server(1);
  Open(server.port(), kDeadlineMs);
  for (int i = 0; i < 100 && !connection_->accepted(); ++i) io_.run_one();
  io_.poll_one();  // AUTH goes out
  std::this_thread::sleep_for(kStill);
  io_.run_for(milliseconds(2 * kDeadlineMs));
  EXPECT_TRUE(connection_->open());
  EXPECT_FALSE(ended_.has_value()) << "ended although it was answered";
  connection_->Close();
}

TEST_F(DeadlineTest, WhatDidNotComeIsLate) {
  const Answering server(1);
  Open(server.port(), 1000);
  RunUntilOpen();
  Ask();
  io_.poll();
  std::this_thread::sleep_for(kStill);
  io_.run_for(milliseconds(2 * kDeadlineMs));
  EXPECT_EQ(answered_, false);
  EXPECT_EQ(ended_, Ended::kTimeout);
}

}  // namespace
}  // namespace regroup::redis
