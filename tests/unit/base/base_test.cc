// The base room: getters that never throw, clock texts, randomness, log lines, errors.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>

#include "operator/base/base64.h"
#include "operator/base/check.h"
#include "operator/base/clock.h"
#include "operator/base/error.h"
#include "operator/base/json.h"
#include "operator/base/log.h"
#include "operator/base/rng.h"

namespace regroup {
namespace {

TEST(JsonGetters, AnUnexpectedTypeReadsAsAbsent) {
  const Json json = *ParseJson(R"({"s": "x", "n": 7, "f": 1.5, "b": true, "o": {"k": ["v"]},
                                   "z": null})");
  EXPECT_EQ(Str(Child(json, "s")), "x");
  EXPECT_EQ(Str(Child(json, "n"), "other"), "other");
  EXPECT_EQ(Str(Child(json, "absent")), "");
  EXPECT_EQ(Int(Child(json, "n")), 7);
  EXPECT_EQ(Int(Child(json, "f"), 9), 9) << "a fraction is no whole number";
  EXPECT_EQ(Int(Child(json, "s"), -1), -1);
  EXPECT_TRUE(Bool(Child(json, "b")));
  EXPECT_TRUE(Bool(Child(json, "s"), true));
  EXPECT_TRUE(Child(Child(json, "s"), "deeper").is_null()) << "a child of text";
  EXPECT_TRUE(Child(Child(json, "z"), "deeper").is_null());
  EXPECT_TRUE(At(json, {"o", "k"}).is_array());
  EXPECT_TRUE(At(json, {"o", "no", "way"}).is_null());
}

TEST(ParseJson, Rows) {
  struct Row {
    const char* name;
    std::string text;
    bool ok;
  };
  for (const Row& row : std::vector<Row>{
           {"empty", "", false},
           {"half", R"({"a": )", false},
           {"a NaN", "NaN", false},
           {"two documents", "{} {}", false},
           {"100 levels", std::string(100, '[') + std::string(100, ']'), true},
           {"101 levels", std::string(101, '[') + std::string(101, ']'), false},
           {"a million levels", std::string(1'000'000, '['), false},
           {"brackets in text are no levels", "\"" + std::string(500, '[') + "\"", true},
           {"an escaped quote in text", R"(["\"[[[[", 1])", true}}) {
    SCOPED_TRACE(std::string("row: ") + row.name);
    const Result<Json> parsed = ParseJson(row.text);
    EXPECT_EQ(parsed.has_value(), row.ok);
    if (!parsed) {
      EXPECT_EQ(parsed.error().code, ErrorCode::kInvalid);
    }
  }
}

TEST(Clock, Formats) {
  EXPECT_EQ(FormatRfc3339(1'764'000'037'083), "2025-11-24T16:00:37Z");
  EXPECT_EQ(FormatRfc3339Micro(1'764'000'037'083), "2025-11-24T16:00:37.083000Z");
  EXPECT_EQ(FormatRfc3339(0), "1970-01-01T00:00:00Z");
}

TEST(Clock, Parses) {
  struct Row {
    std::string text;
    WallMs wall_ms;
  };
  for (const Row& row : std::vector<Row>{{"2025-11-24T16:00:37Z", 1'764'000'037'000},
                                         {"2025-11-24T16:00:37.083000Z", 1'764'000'037'083},
                                         {"2025-11-24T16:00:37.5Z", 1'764'000'037'500},
                                         {"2025-11-24T16:00:37.123456789Z", 1'764'000'037'123},
                                         {"2025-11-24T16:00:37", -1},
                                         {"2025-11-24T16:00:37+01:00", -1},
                                         {"2025-11-24", -1},
                                         {"", -1},
                                         {"now", -1}}) {
    EXPECT_EQ(ParseRfc3339(row.text), row.wall_ms) << "row: " << row.text;
  }
}

TEST(Clock, RoundTrip) {
  for (const WallMs wall_ms : {WallMs{0}, WallMs{951'782'400'123}, WallMs{4'102'444'800'999}}) {
    EXPECT_EQ(ParseRfc3339(FormatRfc3339Micro(wall_ms)), wall_ms);
  }
}

TEST(Clock, TheSystemClockDoesNotStepBack) {
  const SystemClock clock;
  const MonoMs first = clock.Now();
  EXPECT_GE(clock.Now(), first);
  EXPECT_GT(clock.WallNow(), 1'700'000'000'000);
}

TEST(Rng, TheSameSeedGivesTheSameSequence) {
  Rng one(42);
  Rng two(42);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(one.Next(), two.Next());
  EXPECT_EQ(Rng(0).Next(), 0xE220A8397B1DCDAFULL) << "SplitMix64's published first value";
}

TEST(Rng, Bounds) {
  Rng rng(7);
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t value = rng.Below(6);
    ASSERT_LT(value, 6U);
    seen.insert(value);
    const double unit = rng.Unit();
    ASSERT_GE(unit, 0.0);
    ASSERT_LT(unit, 1.0);
  }
  EXPECT_EQ(seen.size(), 6U);
  EXPECT_EQ(rng.Below(0), 0U);
  EXPECT_FALSE(rng.Chance(0.0));
  EXPECT_TRUE(rng.Chance(1.0));
}

std::string Logged(const std::function<void()>& act) {
  testing::internal::CaptureStderr();
  act();
  return testing::internal::GetCapturedStderr();
}

TEST(Log, OneJsonObjectALine) {
  const std::string line = Logged([] {
    Log(LogLevel::kInfo, "say \"hi\"\\",
        {{"member", "a\nb\tc"}, {"epoch", 7}, {"gap", std::int64_t{-3}}});
  });
  ASSERT_EQ(std::count(line.begin(), line.end(), '\n'), 1) << line;
  const Result<Json> json = ParseJson(line);
  ASSERT_TRUE(json) << line;
  EXPECT_EQ(Str(Child(*json, "msg")), "say \"hi\"\\");
  EXPECT_EQ(Str(Child(*json, "member")), "a\nb\tc");
  EXPECT_EQ(Int(Child(*json, "epoch")), 7);
  EXPECT_EQ(Int(Child(*json, "gap")), -3);
  EXPECT_EQ(Str(Child(*json, "level")), "info");
  EXPECT_GT(ParseRfc3339(Str(Child(*json, "ts"))), 0);
}

TEST(Log, EveryControlByteIsEscaped) {
  std::string text;
  for (char c = 0; c < 0x20; ++c) text += c;
  text += '\x7f';
  const std::string line = Logged([&] { Log(LogLevel::kError, text); });
  const Result<Json> json = ParseJson(line);
  ASSERT_TRUE(json) << line;
  EXPECT_EQ(Str(Child(*json, "msg")), text);
}

TEST(Log, BelowTheLevelNothingIsWritten) {
  EXPECT_TRUE(SetLogLevel("warn"));
  EXPECT_EQ(Logged([] { Log(LogLevel::kInfo, "quiet"); }), "");
  EXPECT_NE(Logged([] { Log(LogLevel::kWarn, "loud"); }), "");
  EXPECT_FALSE(SetLogLevel("verbose"));
  EXPECT_TRUE(SetLogLevel("info"));
}

TEST(Error, UnknownOutcomes) {
  for (int i = 0; i <= static_cast<int>(ErrorCode::kInternal); ++i) {
    const Error error{static_cast<ErrorCode>(i), "", 0, 0};
    const bool unknown = error.code == ErrorCode::kDeadlineExceeded ||
                         error.code == ErrorCode::kCancelled;
    EXPECT_EQ(IsUnknownOutcome(error), unknown) << ToString(error.code);
  }
}

TEST(Error, EveryCodeHasAName) {
  std::set<std::string_view> names;
  for (int i = 0; i <= static_cast<int>(ErrorCode::kInternal); ++i) {
    names.insert(ToString(static_cast<ErrorCode>(i)));
  }
  EXPECT_EQ(names.size(), 11U);
}

TEST(CheckDeathTest, ABrokenInvariantEndsTheProcess) {
  EXPECT_DEATH(RG_CHECK(1 == 2, "arithmetic"), "check failed: arithmetic");
  RG_CHECK(1 == 1, "arithmetic");
}

TEST(Base64, BothWays) {
  for (const char* text : {"", "h", "he", "hel", "hello"}) {
    EXPECT_EQ(DecodeBase64(EncodeBase64(text)).value_or("?"), text);
  }
  EXPECT_EQ(EncodeBase64("hello"), "aGVsbG8=");
  EXPECT_EQ(DecodeBase64("aGVs\nbG8=\n").value_or("?"), "hello");
  EXPECT_FALSE(DecodeBase64("a*b"));
}

}  // namespace
}  // namespace regroup
