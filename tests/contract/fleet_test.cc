// redis::AsioFleet against real redis-server processes with the users that Regroup renders.
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "operator/redis/commands.h"
#include "operator/redis/pace.h"
#include "operator/render/acl.h"
#include "tests/contract/watched_fleet.h"

namespace regroup::redis {
namespace {

// One engine on a loopback port, born fenced, with the group's users.
class EngineProcess {
 public:
  explicit EngineProcess(int port) : port_(port) {
    char folder[] = "/tmp/regroup-contract-XXXXXX";
    folder_ = mkdtemp(folder);
    secrets_.operator_password = "operator-secret";
    secrets_.watch_password = "watch-secret";
    secrets_.replication_password = "replication-secret";
    std::ofstream(folder_ + "/users.acl") << render::AclFile(model::Engine::kRedis, secrets_);
    std::ofstream(folder_ + "/redis.conf")
        << "bind 127.0.0.1\nport " << port << "\ndir " << folder_ << "\nsave \"\"\nlogfile "
        << folder_ << "/log\nreplicaof 127.0.0.1 1\nrepl-backlog-ttl 0\naclfile " << folder_
        << "/users.acl\nlua-time-limit 100\n";
    Start();
  }
  ~EngineProcess() {
    End(SIGKILL);
    const std::string command = "rm -rf " + folder_;
    EXPECT_EQ(system(command.c_str()), 0);
  }
  void Start() {
    const std::string config = folder_ + "/redis.conf";
    pid_ = fork();
    if (pid_ == 0) {
      execlp("redis-server", "redis-server", config.c_str(), nullptr);
      _exit(127);
    }
  }
  void Signal(int number) { kill(pid_, number); }
  void End(int number) {
    if (pid_ <= 0) return;
    kill(pid_, SIGCONT);
    kill(pid_, number);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  Credentials credentials() const {
    return {render::kWatchUser, secrets_.watch_password, render::kOperatorUser,
            secrets_.operator_password, false, ""};
  }
  int port() const { return port_; }

 private:
  int port_;
  pid_t pid_ = 0;
  std::string folder_;
  render::GroupSecrets secrets_;
};

class FleetTest : public WatchedFleet {
 protected:
  FleetTest() : engine_(21000 + static_cast<int>(getpid() % 2000)) {
    Watch(engine_.credentials(), engine_.port());
  }
  bool Answering() {
    return Until([](const MemberFacts& facts) {
      return facts.reach == Reach::kAnswering && facts.info.has_value();
    });
  }
  Result<CommandReply> Do(const Transaction& transaction, const std::string& run_id) {
    auto sessions = fleet_.Prepare(kGroup, {kUid}, 1000);
    if (!sessions[0]) return tl::unexpected<Error>(sessions[0].error());
    return fleet_.Execute(kGroup, {{*sessions[0], run_id, transaction, false}}, 1000)[0];
  }
  Result<CommandReply> DoAlone(const std::string& run_id) {
    auto sessions = fleet_.Prepare(kGroup, {kUid}, 1000);
    if (!sessions[0]) return tl::unexpected<Error>(sessions[0].error());
    return fleet_.Execute(kGroup, {{*sessions[0], run_id, Shutdown(), true}}, 1000)[0];
  }

  static Transaction Promotion() {
    return Promote(render::kOperatorUser, render::kReplicationUser);
  }

  EngineProcess engine_;
};

TEST_F(FleetTest, SeesABornFencedEngine) {
  ASSERT_TRUE(Answering());
  const Info info = *Facts().info;
  EXPECT_FALSE(info.is_primary);
  EXPECT_EQ(info.primary_host, "127.0.0.1");
  EXPECT_EQ(info.primary_port, 1);
  EXPECT_FALSE(info.link_up);
  EXPECT_GT(Facts().fenced_since, 0);
  EXPECT_EQ(info.run_id.size(), 40U);
}

TEST_F(FleetTest, APromotionIsAcknowledgedAndSeenAtOnce) {
  ASSERT_TRUE(Answering());
  const auto reply = Do(Promotion(), Facts().info->run_id);
  ASSERT_TRUE(reply.has_value()) << reply.error().message;
  ASSERT_FALSE(reply->replies.empty());
  for (const std::string& text : reply->replies) EXPECT_NE(text.substr(0, 1), "-") << text;
  EXPECT_NE(reply->replies.back().find("role:master"), std::string::npos);
  const MonoMs answered = clock_.Now();
  ASSERT_TRUE(Until([](const MemberFacts& facts) { return facts.info->is_primary; }));
  EXPECT_LT(clock_.Now() - answered, 500) << "an executed change is looked at at once";
}

TEST_F(FleetTest, AnotherProcessAtThatAddressIsRefused) {
  ASSERT_TRUE(Answering());
  const auto reply = Do(Promotion(), std::string(40, '0'));
  ASSERT_FALSE(reply.has_value());
  EXPECT_EQ(reply.error().code, ErrorCode::kConflict);
  EXPECT_FALSE(Facts().info->is_primary);
}

TEST_F(FleetTest, AKilledProcessIsProvenByFinAndRefusal) {
  ASSERT_TRUE(Answering());
  const std::string run_id = Facts().info->run_id;
  SleepMs(100);  // the idle connection is made
  urgent_ = false;
  const MonoMs killed = clock_.Now();
  engine_.End(SIGKILL);
  ASSERT_TRUE(Until([&](const MemberFacts& facts) {
    return facts.fin_run_id == run_id && facts.refused_at >= facts.fin_at && facts.fin_at > 0;
  }));
  EXPECT_LT(clock_.Now() - killed, 500);
  EXPECT_TRUE(urgent_) << "the group's key is woken with priority";
  EXPECT_EQ(Facts().reach, Reach::kRefused);
}

TEST_F(FleetTest, ARestartedProcessShowsAnotherRun) {
  ASSERT_TRUE(Answering());
  const std::string run_id = Facts().info->run_id;
  engine_.End(SIGKILL);
  engine_.Start();
  EXPECT_TRUE(Until([&](const MemberFacts& facts) {
    return facts.reach == Reach::kAnswering && facts.info->run_id != run_id;
  }));
}

TEST_F(FleetTest, AFrozenProcessIsSilentNotUnreachable) {
  ASSERT_TRUE(Answering());
  engine_.Signal(SIGSTOP);
  EXPECT_TRUE(Until([](const MemberFacts& facts) { return facts.reach == Reach::kSilent; }));
  EXPECT_GE(Facts().reach_since - Facts().last_heard, kSilentMs) << "an answer is owed for so long";
  engine_.Signal(SIGCONT);
  EXPECT_TRUE(Answering());
}

TEST_F(FleetTest, AProcessEndsWhenItIsTold) {
  ASSERT_TRUE(Answering());
  const std::string run_id = Facts().info->run_id;
  const auto reply = DoAlone(run_id);
  ASSERT_TRUE(reply.has_value()) << reply.error().message;
  EXPECT_NE(reply->replies.front().substr(0, 1), "-") << reply->replies.front();
  EXPECT_TRUE(Until([](const MemberFacts& facts) { return facts.reach == Reach::kRefused; }));
}

TEST_F(FleetTest, ABusyProcessSaysSoAndEndsWhenItIsTold) {
  ASSERT_TRUE(Answering());
  const std::string run_id = Facts().info->run_id;
  const std::string script = "redis-cli -p " + std::to_string(engine_.port()) +
                             " eval 'while true do end' 0 >/dev/null 2>&1 &";
  ASSERT_EQ(system(script.c_str()), 0);
  ASSERT_TRUE(Until([](const MemberFacts& facts) { return facts.busy; }));
  const auto fence = Do(Fence(render::kOperatorUser, render::kReplicationUser), run_id);
  ASSERT_FALSE(fence.has_value()) << "a busy process is not sent what it would do later";
  const auto reply = DoAlone(run_id);
  ASSERT_TRUE(reply.has_value()) << reply.error().message;
  EXPECT_TRUE(Until([](const MemberFacts& facts) { return facts.reach == Reach::kRefused; }));
}

TEST_F(FleetTest, AWrongPasswordIsDenied) {
  ASSERT_TRUE(Answering());
  Credentials wrong = engine_.credentials();
  wrong.watch_password = "another group's";
  Watch(wrong, engine_.port());
  EXPECT_TRUE(Until([](const MemberFacts& facts) { return facts.reach == Reach::kDenied; }));
}

TEST_F(FleetTest, ASessionIsWorthNothingOnceItIsDropped) {
  ASSERT_TRUE(Answering());
  const auto session = fleet_.Prepare(kGroup, {kUid}, 1000)[0];
  ASSERT_TRUE(session.has_value());
  fleet_.DropControl();
  const auto reply =
      fleet_.Execute(kGroup, {{*session, "", Promotion(), false}}, 1000)[0];
  ASSERT_FALSE(reply.has_value());
  SleepMs(50);
  EXPECT_FALSE(Facts().info->is_primary);
}

TEST_F(FleetTest, TheWatchingUserCannotChangeAnything) {
  ASSERT_TRUE(Answering());
  Credentials watching = engine_.credentials();
  watching.control_user = watching.watch_user;
  watching.control_password = watching.watch_password;
  Watch(watching, engine_.port());
  ASSERT_TRUE(Answering());
  const auto reply = Do(Promotion(), "");
  const bool refused =
      !reply.has_value() || reply->replies.empty() || reply->replies.front().substr(0, 1) == "-";
  EXPECT_TRUE(refused);
  EXPECT_FALSE(Facts().info->is_primary);
}

}  // namespace
}  // namespace regroup::redis
