// The redis room without a socket: wire format, INFO, tracking, pace, transactions.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <fstream>
#include <functional>
#include <sstream>

#include "operator/redis/commands.h"
#include "operator/redis/info.h"
#include "operator/redis/pace.h"
#include "operator/redis/resp_codec.h"
#include "operator/redis/track.h"

namespace regroup::redis {
namespace {

// As text: "+text", "-error", "[a b]".
std::string Text(const Reply& reply) {
  if (!reply.is_array) return (reply.is_error ? "-" : "+") + reply.text;
  std::string out = "[";
  for (const Reply& item : reply.elements) out += (out.size() > 1 ? " " : "") + Text(item);
  return out + "]";
}

// All replies of `bytes`, fed in pieces of `step`; "!" for an error, which ends it.
std::string Decode(const std::string& bytes, std::size_t step) {
  RespDecoder decoder;
  std::string out;
  for (std::size_t at = 0; at < bytes.size(); at += step) {
    if (!decoder.Feed(std::string_view(bytes).substr(at, step))) return out + "!";
    while (true) {
      Result<std::optional<Reply>> reply = decoder.Next();
      if (!reply) return out + "!";
      if (!*reply) break;
      out += (out.empty() ? "" : " ") + Text(**reply);
    }
  }
  return out;
}

TEST(Resp, CommandsAreEncodedByLength) {
  EXPECT_EQ(EncodeCommand({"PING"}), "*1\r\n$4\r\nPING\r\n");
  EXPECT_EQ(EncodeCommand({"SET", "", "a\r\nb"}), "*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\na\r\nb\r\n");
  EXPECT_EQ(EncodeCommand({std::string("\0x", 2)}), std::string("*1\r\n$2\r\n\0x\r\n", 12));
}

TEST(Resp, RepliesHoweverTheyAreCut) {
  struct Row {
    const char* name;
    std::string bytes;
    std::string text;
  };
  for (const Row& row : std::vector<Row>{
           {"a status", "+OK\r\n", "+OK"},
           {"an error", "-ERR no\r\n", "-ERR no"},
           {"an integer", ":-42\r\n", "+-42"},
           {"a bulk", "$5\r\nhe\r\nx\r\n", "+he\r\nx"},
           {"an empty bulk", "$0\r\n\r\n", "+"},
           {"no bulk", "$-1\r\n", "+"},
           {"an array", "*2\r\n+a\r\n*1\r\n:1\r\n", "[+a [+1]]"},
           {"an empty array", "*0\r\n", "[]"},
           {"an aborted EXEC", "*-1\r\n", "+"},
           {"two in a row", "+a\r\n-b\r\n", "+a -b"},
           {"a MULTI as it comes", "+OK\r\n+QUEUED\r\n*2\r\n:1\r\n-ERR x\r\n",
            "+OK +QUEUED [+1 -ERR x]"},
           {"nonsense", "hello\r\n", "!"},
           {"an impossible length", "$99999999999999999999\r\n", "!"}}) {
    SCOPED_TRACE(std::string("row: ") + row.name);
    for (std::size_t step = 1; step <= row.bytes.size(); ++step) {
      ASSERT_EQ(Decode(row.bytes, step), row.text) << "in pieces of " << step;
    }
  }
}

TEST(Resp, AReplyOverTheBoundEndsTheConnection) {
  RespDecoder decoder;
  EXPECT_TRUE(decoder.Feed("$10000000\r\n"));
  const std::string piece(1 << 20, 'x');
  bool refused = false;
  for (int i = 0; i < 6 && !refused; ++i) refused = !decoder.Feed(piece);
  EXPECT_TRUE(refused);
}

TEST(Resp, ManySmallRepliesAreNoLargeOne) {
  RespDecoder decoder;
  std::string reply = "$65536\r\n" + std::string(65536, 'x') + "\r\n";
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(decoder.Feed(reply)) << i;
    ASSERT_TRUE(decoder.Next()->has_value()) << i;
  }
}

TEST(Resp, DeepNestingIsRefused) {
  std::string bytes;
  for (int i = 0; i < 100'000; ++i) bytes += "*1\r\n";
  EXPECT_EQ(Decode(bytes, 4096), "!");
}

TEST(Resp, RandomBytesNeverCrash) {
  EXPECT_TRUE(rc::check("random bytes", [](const std::string& bytes, std::uint8_t step) {
    Decode(bytes, step % 16 + 1U);
  }));
  EXPECT_TRUE(rc::check("bytes that look like RESP", [] {
    const auto pieces = *rc::gen::container<std::vector<std::string>>(rc::gen::element<std::string>(
        "*", "$", "+", "-", ":", "1", "2", "-1", "99", "\r\n", "\r", "\n", "x", "*2\r\n",
        "$1\r\nx\r\n", "%1\r\n", "~1\r\n", ",1.5\r\n", "#t\r\n", "_\r\n"));
    std::string bytes;
    for (const std::string& piece : pieces) bytes += piece;
    Decode(bytes, 3);
  }));
}

TEST(Resp, EveryCommandIsReadBackAsItWasWritten) {
  EXPECT_TRUE(rc::check("round trip", [](const std::vector<std::string>& words) {
    RespDecoder decoder;
    RC_ASSERT(decoder.Feed(EncodeCommand(words)).has_value());
    const Result<std::optional<Reply>> reply = decoder.Next();
    RC_ASSERT(reply.has_value());
    RC_ASSERT(reply->has_value());
    RC_ASSERT((*reply)->elements.size() == words.size());
    for (std::size_t i = 0; i < words.size(); ++i) {
      RC_ASSERT((*reply)->elements[i].text == words[i]);
    }
  }));
}

std::string Capture(const std::string& name) {
  std::ifstream file("tests/unit/redis/data/" + name + ".txt");
  std::ostringstream text;
  text << file.rdbuf();
  EXPECT_FALSE(text.str().empty()) << name << ": run from the root of the checkout";
  return text.str();
}

Info Captured(const std::string& name) {
  const Result<Info> info = ParseInfo(Capture(name));
  EXPECT_TRUE(info) << name;
  return info ? *info : Info{};
}

TEST(Info, OfARealPrimary) {
  const Info info = Captured("redis-7.0-primary");
  EXPECT_EQ(info.version, "7.0.15");
  EXPECT_EQ(info.run_id.size(), 40U);
  EXPECT_EQ(info.repl_id.size(), 40U);
  EXPECT_TRUE(info.is_primary && info.guard_on && !info.loading && !info.sync_in_progress);
  EXPECT_EQ(info.good_replicas, 1);
  EXPECT_EQ(info.offset, 42);
  EXPECT_EQ(info.second_repl_offset, -1);
  EXPECT_EQ(info.keys, 3) << "over both databases";
  EXPECT_GT(info.used_memory_bytes, 500'000);
  ASSERT_EQ(info.replicas.size(), 1U);
  EXPECT_TRUE((info.replicas[0] == InfoReplica{"127.0.0.1", 17002, true, 42, 0}));
}

TEST(Info, OfARealReplica) {
  const Info info = Captured("redis-7.0-replica");
  EXPECT_FALSE(info.is_primary);
  EXPECT_EQ(info.primary_host, "127.0.0.1");
  EXPECT_EQ(info.primary_port, 17001);
  EXPECT_TRUE(info.link_up);
  EXPECT_GE(info.last_io_seconds, 0);
  EXPECT_EQ(info.link_down_seconds, -1);
  EXPECT_EQ(info.offset, 42);
  EXPECT_EQ(info.read_offset, 42);
  EXPECT_EQ(info.repl_id, Captured("redis-7.0-primary").repl_id);
  EXPECT_EQ(info.keys, 3);
}

TEST(Info, OfARealFencedReplica) {
  const Info info = Captured("redis-7.0-fenced");
  EXPECT_FALSE(info.is_primary || info.link_up);
  EXPECT_EQ(info.primary_host, "127.0.0.1");
  EXPECT_EQ(info.primary_port, 1);
  EXPECT_EQ(info.last_io_seconds, -1);
  EXPECT_EQ(info.link_down_seconds, 1);
  EXPECT_EQ(info.offset, 42) << "it keeps what it had";
}

TEST(Info, OfARealTakeOver) {
  const Info info = Captured("redis-7.0-promoted");
  EXPECT_TRUE(info.is_primary);
  EXPECT_FALSE(info.guard_on);
  EXPECT_EQ(info.repl_id2, Captured("redis-7.0-fenced").repl_id);
  EXPECT_EQ(info.second_repl_offset, 43);
}

TEST(Info, OfARealValkey) {
  const Info primary = Captured("valkey-9.0-primary");
  EXPECT_EQ(primary.version, "9.0.0") << "not the redis_version that it pretends";
  EXPECT_TRUE(primary.is_primary && primary.guard_on);
  ASSERT_EQ(primary.replicas.size(), 1U);
  EXPECT_TRUE(primary.replicas[0].online);
  EXPECT_EQ(primary.replicas[0].port, 17004);
  const Info replica = Captured("valkey-9.0-replica");
  EXPECT_TRUE(replica.link_up);
  EXPECT_EQ(replica.repl_id, primary.repl_id);
  EXPECT_EQ(replica.primary_port, 17003);
}

TEST(Info, Refused) {
  EXPECT_FALSE(ParseInfo(""));
  EXPECT_FALSE(ParseInfo("role:master\r\n")) << "no run ID";
  EXPECT_FALSE(ParseInfo("run_id:abc\r\n")) << "no role";
  EXPECT_FALSE(ParseInfo("run_id:abc\r\nrole:sentinel\r\n"));
  EXPECT_FALSE(ParseInfo("run_id:a\nrole:master\n" + std::string((1 << 20) + 1, 'x')));
  EXPECT_TRUE(ParseInfo("run_id:a\nrole:master")) << "bare line ends, no last one";
}

TEST(Info, StrangeNumbersReadAsNone) {
  const Result<Info> info = ParseInfo(
      "run_id:a\r\nrole:slave\r\nmaster_port:x\r\nmaster_repl_offset:99999999999999999999\r\n"
      "slave_repl_offset:12abc\r\nmaster_last_io_seconds_ago:\r\ndb0:nokeys\r\ndb1:keys=2\r\n"
      "slavery:1\r\ndbx:keys=9\r\nslave0:nonsense\r\n:\r\nno colon\r\n");
  ASSERT_TRUE(info);
  EXPECT_EQ(info->primary_port, 0);
  EXPECT_EQ(info->last_io_seconds, -1);
  EXPECT_EQ(info->keys, 2);
  ASSERT_EQ(info->replicas.size(), 1U);
  EXPECT_FALSE(info->replicas[0].online);
}

TEST(Info, AtMost64ReplicasAreKept) {
  std::string text = "run_id:a\r\nrole:master\r\n";
  for (int i = 0; i < 200; ++i) {
    text += "slave" + std::to_string(i) + ":ip=10.0.0.1,port=1,state=online,offset=1,lag=0\r\n";
  }
  EXPECT_EQ(ParseInfo(text)->replicas.size(), 64U);
}

TEST(Info, RandomBytesNeverCrash) {
  const std::string real = Capture("redis-7.0-primary");
  EXPECT_TRUE(rc::check("random", [](const std::string& text) { (void)ParseInfo(text); }));
  EXPECT_TRUE(rc::check("a real one, damaged", [&] {
    std::string text = real;
    for (int i = 0; i < 20; ++i) {
      const auto at = *rc::gen::inRange<std::size_t>(0, text.size());
      text[at] = *rc::gen::arbitrary<char>();
    }
    const Result<Info> info = ParseInfo(text);
    RC_ASSERT(!info || info->replicas.size() <= 64U);
  }));
}

Info Replica(std::int64_t offset) {
  Info info;
  info.run_id = "run-1";
  info.primary_host = "10.0.0.1";
  info.primary_port = 6379;
  info.link_up = true;
  info.read_offset = offset;
  return info;
}

std::string Text(const Wake& wake) { return wake.urgent ? "urgent" : wake.wake ? "wake" : "none"; }

TEST(Track, WhatWakes) {
  struct Row {
    const char* name;
    std::function<void(Info&)> change;
    const char* wake;
  };
  for (const Row& row : std::vector<Row>{
           {"the same again", [](Info&) {}, "none"},
           {"the offset moves", [](Info& i) { i.read_offset = i.offset = 99; }, "none"},
           {"memory and keys", [](Info& i) { i.used_memory_bytes = i.keys = 9; }, "none"},
           {"another process", [](Info& i) { i.run_id = "run-2"; }, "urgent"},
           {"another role", [](Info& i) { i.is_primary = true; }, "urgent"},
           {"the link goes down", [](Info& i) { i.link_up = false; }, "urgent"},
           {"a replica appears", [](Info& i) { i.replicas.push_back({"a", 1, true, 0, 0}); },
            "urgent"},
           {"another history", [](Info& i) { i.repl_id = "h2"; }, "wake"},
           {"another primary", [](Info& i) { i.primary_host = "10.0.0.2"; }, "wake"},
           {"a full sync", [](Info& i) { i.sync_in_progress = true; }, "wake"},
           {"loading", [](Info& i) { i.loading = true; }, "wake"},
           {"the guard", [](Info& i) { i.guard_on = true; }, "wake"}}) {
    SCOPED_TRACE(std::string("row: ") + row.name);
    MemberFacts facts;
    EXPECT_EQ(Text(OnInfo(facts, Replica(1), 100)), "wake") << "the first word";
    Info next = Replica(1);
    row.change(next);
    EXPECT_EQ(Text(OnInfo(facts, next, 200)), row.wake);
  }
}

TEST(Track, AReplicaThatFallsBehindWakes) {
  Info info;
  info.run_id = "run-1";
  info.is_primary = true;
  info.replicas = {{"10.0.0.2", 6379, true, 100, 0}};
  MemberFacts facts;
  OnInfo(facts, info, 100);
  info.replicas[0].lag_seconds = 1;
  EXPECT_EQ(Text(OnInfo(facts, info, 200)), "none");
  info.replicas[0].lag_seconds = 2;
  EXPECT_EQ(Text(OnInfo(facts, info, 300)), "urgent");
  OnInfo(facts, info, 400);
  EXPECT_EQ(facts.late_since.at("10.0.0.2"), 300);
  info.replicas[0].lag_seconds = 0;
  OnInfo(facts, info, 500);
  EXPECT_TRUE(facts.late_since.empty());
}

TEST(Track, SinceWhen) {
  MemberFacts facts;
  OnInfo(facts, Replica(1), 100);
  OnInfo(facts, Replica(1), 200);
  EXPECT_EQ(facts.offset_still_since, 100);
  OnInfo(facts, Replica(2), 300);
  EXPECT_EQ(facts.offset_still_since, 300);
  Info down = Replica(2);
  down.link_up = false;
  OnInfo(facts, down, 400);
  OnInfo(facts, down, 500);
  EXPECT_EQ(facts.link_down_since, 400);
  EXPECT_EQ(facts.fenced_since, 0);
  down.primary_host = "127.0.0.1";
  down.primary_port = 1;
  OnInfo(facts, down, 600);
  OnInfo(facts, down, 700);
  EXPECT_EQ(facts.fenced_since, 600);
  down.run_id = "run-2";
  OnInfo(facts, down, 800);
  EXPECT_EQ(facts.fenced_since, 800) << "another process";
  OnInfo(facts, Replica(2), 900);
  EXPECT_EQ(facts.fenced_since, 0);
  EXPECT_EQ(facts.link_down_since, 0);
}

TEST(Track, TroubleAtFirstSightIsUrgent) {
  MemberFacts fenced;
  Info info = Replica(1);
  info.primary_host = "127.0.0.1";
  info.primary_port = 1;
  EXPECT_EQ(Text(OnInfo(fenced, info, 100)), "urgent");
  EXPECT_EQ(Text(OnInfo(fenced, info, 200)), "none");
  MemberFacts dead;
  EXPECT_EQ(Text(OnConnectFailed(dead, Ended::kRefused, 100)), "urgent");
  EXPECT_EQ(Text(OnConnectFailed(dead, Ended::kRefused, 200)), "none");
}

TEST(Track, OnlyAFinIsEvidenceAndOnlyARefusalAfterIt) {
  MemberFacts facts;
  OnConnectFailed(facts, Ended::kRefused, 50);
  EXPECT_EQ(facts.refused_at, 0) << "no FIN yet";
  OnInfo(facts, Replica(1), 100);
  OnIdleEnded(facts, Ended::kReset, 150);
  OnIdleEnded(facts, Ended::kTimeout, 160);
  EXPECT_EQ(facts.fin_run_id, "");
  EXPECT_EQ(Text(OnIdleEnded(facts, Ended::kFin, 200)), "urgent");
  EXPECT_EQ(facts.fin_run_id, "run-1");
  EXPECT_EQ(facts.fin_at, 200);
  EXPECT_EQ(Text(OnConnectFailed(facts, Ended::kRefused, 210)), "urgent");
  EXPECT_EQ(facts.refused_at, 210);
  EXPECT_EQ(Text(OnConnectFailed(facts, Ended::kRefused, 260)), "none");
  EXPECT_EQ(facts.refused_at, 210) << "the first refusal counts";
  EXPECT_EQ(facts.reach, Reach::kRefused);
}

TEST(Track, HowAnAttemptFails) {
  MemberFacts facts;
  OnInfo(facts, Replica(1), 100);
  EXPECT_EQ(Text(OnConnectFailed(facts, Ended::kUnreachable, 200)), "urgent") << "it got worse";
  EXPECT_EQ(facts.reach, Reach::kUnreachable);
  EXPECT_EQ(facts.reach_since, 200);
  EXPECT_EQ(Text(OnConnectFailed(facts, Ended::kDenied, 300)), "wake");
  EXPECT_EQ(facts.reach, Reach::kDenied);
  EXPECT_EQ(Text(OnInfo(facts, Replica(1), 400)), "wake");
  EXPECT_EQ(facts.reach, Reach::kAnswering);
}

TEST(Pace, HasteIsSharedAndNeverSlowerThanRest) {
  EXPECT_EQ(SharedIntervalMs(Pace::kUrgent, {3000, 30}), PollIntervalMs(Pace::kUrgent))
      << "a failover does not wait for groups that are being made";
  EXPECT_EQ(SharedIntervalMs(Pace::kUrgent, {0, 300}), 150);
  EXPECT_EQ(SharedIntervalMs(Pace::kSuspect, {200, 0}), 100);
  EXPECT_EQ(SharedIntervalMs(Pace::kSuspect, {400, 200}), 300);
  EXPECT_EQ(SharedIntervalMs(Pace::kSuspect, {9000, 0}), 1000);
}

TEST(Pace, AMembersTurnComesOnceASecond) {
  for (const std::uint64_t spread : {0ULL, 7ULL, 19ULL, 12'345ULL}) {
    const MonoMs first = 1'000'003 + UntilTurnMs(1'000'003, spread);
    EXPECT_LE(first, 1'001'003);
    EXPECT_EQ(first % 50, 0);
    EXPECT_EQ(UntilTurnMs(first, spread), 1000) << "asked, and nothing has passed yet";
    EXPECT_EQ(UntilTurnMs(first + 3, spread), 997) << "a late answer does not shift it";
  }
  EXPECT_NE(UntilTurnMs(0, 1), UntilTurnMs(0, 2));
}

TEST(Pace, AtRestInfoOnceASecondAndNothingElse) {
  EXPECT_EQ(PollIntervalMs(Pace::kRest), 1000);
  EXPECT_EQ(PollIntervalMs(Pace::kSuspect), 100);
  EXPECT_LE(PollIntervalMs(Pace::kUrgent), 50);
}

TEST(Pace, ALostConnectionIsTriedAgainAtOnceAndThenMoreAndMoreSeldom) {
  for (const auto& [failures, rest_ms] : std::map<int, int>{
           {1, 5}, {2, 5}, {3, 10}, {4, 20}, {5, 40}, {6, 100}, {20, 300}, {100, 1000}}) {
    EXPECT_EQ(ReconnectDelayMs(Pace::kRest, failures), rest_ms) << failures;
    EXPECT_EQ(ReconnectDelayMs(Pace::kSuspect, failures), std::min(rest_ms, 50)) << failures;
    EXPECT_EQ(ReconnectDelayMs(Pace::kUrgent, failures), std::min(rest_ms, 20)) << failures;
  }
}

std::string Text(const Transaction& transaction) {
  std::string text;
  for (const auto& command : transaction) {
    text += text.empty() ? "" : "; ";
    for (const std::string& word : command) text += (&word == &command[0] ? "" : " ") + word;
  }
  return text;
}

constexpr char kKill[] = "CLIENT KILL USER op SKIPME yes; ";
constexpr char kCut[] =
    "CLIENT KILL TYPE normal USER default; CLIENT KILL TYPE pubsub USER default";

TEST(Commands, Transactions) {
  EXPECT_EQ(Text(Fence("op", "feed")), std::string(kKill) +
            "REPLICAOF 127.0.0.1 1; ACL SETUSER feed off; "
            "CONFIG SET replica-serve-stale-data no repl-timeout 10; " + kCut +
            "; CLIENT UNPAUSE; INFO replication");
  EXPECT_EQ(Text(Detach("op", "feed")), std::string(kKill) +
            "REPLICAOF 127.0.0.1 1; ACL SETUSER feed off; INFO replication");
  EXPECT_EQ(Text(Promote("op", "feed")), std::string(kKill) +
            "ACL SETUSER feed on; CONFIG SET min-replicas-to-write 0 repl-timeout 10; "
            "REPLICAOF NO ONE; "
            "INFO replication");
  EXPECT_EQ(Text(Follow("op", "feed", "10.0.0.1", 6379)), std::string(kKill) +
            "ACL SETUSER feed off; REPLICAOF 10.0.0.1 6379; INFO replication");
  EXPECT_EQ(Text(GuardOn("op")),
            std::string(kKill) + "CONFIG SET min-replicas-to-write 1; INFO replication");
  EXPECT_EQ(Text(GuardOff("op")),
            std::string(kKill) + "CONFIG SET min-replicas-to-write 0; INFO replication");
  EXPECT_EQ(Text(CutClients("op")), std::string(kKill) + kCut);
  EXPECT_EQ(Text(SetConfig("op", {{"timeout", "30"}, {"maxmemory", "5"}})),
            std::string(kKill) + "CONFIG SET maxmemory 5 timeout 30");
  EXPECT_EQ(Text(SetAcl("op", {"reset", "on"})),
            std::string(kKill) + "ACL SETUSER default reset on");
}

}  // namespace
}  // namespace regroup::redis
