#include "tests/sim/fake_api.h"

#include <utility>

#include <gtest/gtest.h>

#include "tests/sim/fake_watch.h"

namespace regroup::sim {
namespace {

const kube::ResourceType kThings{"", "v1", "configmaps", true};
const kube::ResourceType kGroupType{"regroup.dev", "v1alpha1", "replicationgroups", true};

class FakeApiTest : public testing::Test {
 protected:
  World world_{3};
  Network network_;
  ApiServer server_{&world_};
  ApiFaults faults_;
  FakeApi api_{&server_, &world_, &network_, "op0", &faults_};
  const kube::ObjectRef thing_{kThings, "default", "a"};
  const kube::ObjectRef group_{kGroupType, "default", "g"};
};

TEST_F(FakeApiTest, ReplaceIsACompareAndSwap) {
  Json first = *api_.Create(kThings, "default", Json{{"metadata", {{"name", "a"}}}}, 1000);
  Json second = first;
  first["data"] = {{"k", "1"}};
  ASSERT_TRUE(api_.Replace(thing_, "", first, 1000).has_value());
  second["data"] = {{"k", "2"}};
  const auto lost = api_.Replace(thing_, "", second, 1000);
  ASSERT_FALSE(lost.has_value());
  EXPECT_EQ(lost.error().code, ErrorCode::kConflict);
  EXPECT_EQ(Str(At(*api_.Get(thing_, 1000), {"data", "k"})), "1");
}

TEST_F(FakeApiTest, StatusIsKeptApart) {
  Json object = *api_.Create(
      kGroupType, "default",
      Json{{"metadata", {{"name", "g"}}}, {"spec", {{"a", 1}}}, {"status", {{"x", 1}}}}, 1000);
  EXPECT_FALSE(object.contains("status"));
  object["status"] = {{"x", 2}};
  object["spec"]["a"] = 5;
  object = *api_.Replace(group_, "status", object, 1000);
  EXPECT_EQ(Int(At(object, {"status", "x"})), 2);
  EXPECT_EQ(Int(At(object, {"spec", "a"})), 1);
  EXPECT_EQ(Int(At(object, {"metadata", "generation"})), 1);
  object["status"] = {{"x", 3}};
  object["spec"]["a"] = 6;
  object = *api_.Replace(group_, "", object, 1000);
  EXPECT_EQ(Int(At(object, {"status", "x"})), 2);
  EXPECT_EQ(Int(At(object, {"metadata", "generation"})), 2);
}

TEST_F(FakeApiTest, ApplyTakesOutWhatItNoLongerNames) {
  ASSERT_TRUE(api_.Apply(thing_, "m", Json{{"data", {{"a", "1"}, {"b", "2"}}}}, 1000).has_value());
  ASSERT_TRUE(
      api_.MergePatch(thing_, "", Json{{"data", {{"other", "3"}}}}, 1000).has_value());
  const auto applied = api_.Apply(thing_, "m", Json{{"data", {{"a", "1"}}}}, 1000);
  ASSERT_TRUE(applied.has_value());
  EXPECT_EQ(Child(*applied, "data"), (Json{{"a", "1"}, {"other", "3"}}));
}

TEST_F(FakeApiTest, WriteWithoutAChangeHasNoVersion) {
  const Json object{{"data", {{"a", "1"}}}};
  const auto first = api_.Apply(thing_, "m", object, 1000);
  const auto second = api_.Apply(thing_, "m", object, 1000);
  EXPECT_EQ(Str(At(*first, {"metadata", "resourceVersion"})),
            Str(At(*second, {"metadata", "resourceVersion"})));
}

TEST_F(FakeApiTest, DeleteNeedsTheRightUid) {
  const Json object = *api_.Create(kThings, "default", Json{{"metadata", {{"name", "a"}}}}, 1000);
  EXPECT_FALSE(api_.Delete(thing_, {"uid-other", ""}, -1, 1000).has_value());
  EXPECT_TRUE(api_.Delete(thing_, {Str(At(object, {"metadata", "uid"})), ""}, -1, 1000));
  EXPECT_FALSE(api_.Get(thing_, 1000).has_value());
}

TEST_F(FakeApiTest, LostReplyLeavesTheWriteDone) {
  faults_.lost_reply = 1.0;
  const auto reply = api_.Create(kThings, "default", Json{{"metadata", {{"name", "a"}}}}, 1000);
  ASSERT_FALSE(reply.has_value());
  EXPECT_TRUE(IsUnknownOutcome(reply.error()));
  EXPECT_TRUE(server_.Get(thing_).has_value());
}

TEST_F(FakeApiTest, FinalizerKeepsADeletedObject) {
  Json object = *api_.Create(
      kGroupType, "default",
      Json{{"metadata", {{"name", "g"}, {"finalizers", {"f"}}}}, {"spec", {{"a", 1}}}}, 1000);
  ASSERT_TRUE(api_.Delete(group_, {Str(At(object, {"metadata", "uid"})), ""}, -1, 1000));
  object = *api_.Get(group_, 1000);
  EXPECT_TRUE(At(object, {"metadata", "deletionTimestamp"}).is_string());
  ASSERT_TRUE(api_.MergePatch(group_, "", Json{{"metadata", {{"finalizers", nullptr}}}}, 1000));
  EXPECT_FALSE(api_.Get(group_, 1000).has_value());
}

TEST_F(FakeApiTest, PagesShowOneState) {
  for (const char* name : {"a", "b", "c"}) {
    ASSERT_TRUE(api_.Create(kThings, "default", Json{{"metadata", {{"name", name}}}}, 1000));
  }
  kube::ListOptions options;
  options.limit = 2;
  const Json first = *api_.List(kThings, options, 1000);
  EXPECT_EQ(Child(first, "items").size(), 2U);
  ASSERT_TRUE(api_.Create(kThings, "default", Json{{"metadata", {{"name", "bb"}}}}, 1000));
  options.continue_token = Str(At(first, {"metadata", "continue"}));
  const Json second = *api_.List(kThings, options, 1000);
  ASSERT_EQ(Child(second, "items").size(), 1U);
  EXPECT_EQ(Str(At(Child(second, "items").front(), {"metadata", "name"})), "c");
  EXPECT_TRUE(Str(At(second, {"metadata", "continue"})).empty());
  server_.Compact();
  EXPECT_EQ(api_.List(kThings, options, 1000).error().code, ErrorCode::kGone);
}

TEST_F(FakeApiTest, AnyVersionMayBeAnOlderOne) {
  ASSERT_TRUE(api_.Create(kThings, "default", Json{{"metadata", {{"name", "a"}}}}, 1000));
  world_.After(1000, [] {});
  world_.RunOne();
  ASSERT_TRUE(api_.Create(kThings, "default", Json{{"metadata", {{"name", "b"}}}}, 1000));
  api_.SetCacheLag(500);
  kube::ListOptions options;
  options.resource_version = "0";
  EXPECT_EQ(Child(*api_.List(kThings, options, 1000), "items").size(), 1U);
  options.resource_version = "";
  EXPECT_EQ(Child(*api_.List(kThings, options, 1000), "items").size(), 2U);
}

TEST_F(FakeApiTest, RefusalsSayWhenToComeBack) {
  faults_.refuse = 1.0;
  bool busy = false;
  bool broken = false;
  for (int i = 0; i < 30; ++i) {
    const Error error = api_.Get(thing_, 1000).error();
    busy = busy || (error.code == ErrorCode::kTooManyRequests && error.retry_after_ms == 1000);
    broken = broken || error.http_status == 500;
  }
  EXPECT_TRUE(busy);
  EXPECT_TRUE(broken);
}

TEST_F(FakeApiTest, ARestoredStoreGivesVersionsOutAgain) {
  const Json first = *api_.Create(kThings, "default", Json{{"metadata", {{"name", "a"}}}}, 1000);
  server_.Backup();
  Json changed = first;
  changed["data"] = {{"k", "1"}};
  changed = *api_.Replace(thing_, "", changed, 1000);
  ASSERT_TRUE(api_.Create(kThings, "default", Json{{"metadata", {{"name", "b"}}}}, 1000));
  std::vector<std::string> told;
  server_.OnChange([&](const Change& change) {
    told.push_back(change.type + " " + Str(At(change.object, {"metadata", "name"})));
  });
  server_.Restore();
  EXPECT_EQ(told, (std::vector<std::string>{"DELETED b", "MODIFIED a"}));
  EXPECT_EQ(*api_.Get(thing_, 1000), first);
  Json again = first;
  again["data"] = {{"k", "2"}};
  again = *api_.Replace(thing_, "", again, 1000);
  EXPECT_EQ(Str(At(again, {"metadata", "resourceVersion"})),
            Str(At(changed, {"metadata", "resourceVersion"})));
}

// One watch, and what it told.
class FakeWatchTest : public FakeApiTest {
 protected:
  FakeWatchTest() {
    server_.OnCommit([this](const auto& commit) { watch_.OnCommit(commit); });
    server_.OnRestart([this] { watch_.LoseAll(); });
  }
  void Open(const std::string& version, const std::string& selector = "") {
    kube::WatchOptions options;
    options.send_initial_events = version.empty();
    options.resource_version = version;
    options.label_selector = selector;
    FakeWatch::Sink sink;
    sink.on_event = [this](const std::string& type, const kube::Object& object) {
      told_.push_back(type + " " + Str(At(*object, {"metadata", "name"})));
    };
    sink.on_end = [this](const std::optional<Error>& error) {
      told_.push_back("end " + std::string(error ? ToString(error->code) : "clean"));
    };
    watch_.Open(kThings, options, std::move(sink));
  }
  void Put(const std::string& name, const Json& labels = Json::object()) {
    const Json object{{"metadata", {{"name", name}, {"labels", labels}}}};
    ASSERT_TRUE(api_.Create(kThings, "default", object, 1000));
  }
  std::vector<std::string> Told(std::int64_t ms) {
    const MonoMs end = world_.Now() + ms;
    world_.After(ms, [] {});
    while (world_.Now() < end && world_.RunOne()) {
    }
    return std::exchange(told_, {});
  }
  using Lines = std::vector<std::string>;

  WatchFaults watch_faults_;
  MonoMs awake_at_ = 0;
  FakeWatch watch_{&server_, &world_, &network_, "op0", &watch_faults_, &awake_at_};
  std::vector<std::string> told_;
};

TEST_F(FakeWatchTest, FirstTheSetThenChangesInOrder) {
  Put("a");
  Open("");
  Put("b");
  ASSERT_TRUE(server_.Delete(thing_, {}, -1));
  EXPECT_EQ(Told(1000), (Lines{"ADDED a", "BOOKMARK ", "ADDED b", "DELETED a"}));
  const kube::ResourceType others{"", "v1", "secrets", true};
  ASSERT_TRUE(api_.Create(others, "default", Json{{"metadata", {{"name", "s"}}}}, 1000));
  EXPECT_EQ(Told(61'000), Lines{"BOOKMARK "}) << "versions go on with every resource";
}

TEST_F(FakeWatchTest, ASelectorTellsOfObjectsThatComeIntoSightAndLeaveIt) {
  Open("", "mine=yes");
  Put("a");
  const auto label = [&](const Json& value) {
    const Json patch{{"metadata", {{"labels", {{"mine", value}}}}}};
    ASSERT_TRUE(api_.MergePatch(thing_, "", patch, 1000));
  };
  label("yes");
  label("no");
  EXPECT_EQ(Told(1000), (Lines{"BOOKMARK ", "ADDED a", "DELETED a"}));
}

TEST_F(FakeWatchTest, GoesOnFromAVersionUnlessItWasCompacted) {
  Put("a");
  const std::string version = server_.Version();
  Put("b");
  Open(version);
  EXPECT_EQ(Told(1000), Lines{"ADDED b"});
  server_.Compact();
  Open(version);
  const Lines told = Told(1000);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_TRUE(told[0] == "end Gone" || told[0] == "ERROR ") << told[0];
}

TEST_F(FakeWatchTest, AfterARestoreAFutureVersionHearsNothingUntilItIsReached) {
  server_.Backup();
  Put("a");
  Put("b");
  const std::string version = server_.Version();
  Open(version);
  server_.Restore();
  EXPECT_EQ(Told(1000), Lines{"end Unavailable"});
  Open(version);
  Put("c");
  Put("d");
  EXPECT_EQ(Told(70'000), Lines{}) << "bookmarks too";
  Put("e");
  EXPECT_EQ(Told(1000), Lines{"ADDED e"});
}

TEST_F(FakeWatchTest, AHungStreamIsSilentUntilItsEndIsKnown) {
  Open("");
  Told(1000);
  watch_faults_.hang = 1.0;
  Put("a");
  EXPECT_EQ(Told(50'000), Lines{});
  watch_.ResetHung();
  watch_faults_.hang = 0;
  EXPECT_EQ(Told(1000), Lines{"end Unavailable"});
}

TEST_F(FakeWatchTest, AStoppedProcessReadsLater) {
  Open("");
  Told(1000);
  Put("a");
  awake_at_ = world_.Now() + 5000;
  EXPECT_EQ(Told(4000), Lines{});
  EXPECT_EQ(Told(2000), Lines{"ADDED a"});
}

}  // namespace
}  // namespace regroup::sim
