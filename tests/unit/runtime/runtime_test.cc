// The runtime room: the queue's rules and its threads, the store, the election.
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <set>
#include <thread>

#include "operator/runtime/controller.h"
#include "operator/runtime/leader.h"
#include "operator/runtime/store.h"
#include "operator/runtime/work_queue.h"

namespace regroup::runtime {
namespace {

std::string Next(WorkQueueCore& core, MonoMs now = 0) { return core.Take(now).value_or("-"); }
// Takes until nothing is left.
std::string Drain(WorkQueueCore& core) {
  std::string keys;
  while (std::optional<std::string> key = core.Take(0)) keys += *key;
  return keys;
}

TEST(QueueCore, AKeyIsThereOnce) {
  WorkQueueCore core(1);
  core.Add("a", Priority::kNormal);
  core.Add("a", Priority::kNormal);
  core.Add("b", Priority::kNormal);
  EXPECT_EQ(core.Depth(), 2U);
  EXPECT_EQ(Drain(core), "ab");
}

TEST(QueueCore, AKeyInWorkIsGivenToNobodyElse) {
  WorkQueueCore core(1);
  core.Add("a", Priority::kNormal);
  EXPECT_EQ(Next(core), "a");
  core.Add("a", Priority::kUrgent);
  EXPECT_TRUE(core.HasPending("a"));
  EXPECT_TRUE(core.HasUrgent("a"));
  EXPECT_EQ(Next(core), "-");
  core.Done("a");
  EXPECT_EQ(Next(core), "a") << "it changed meanwhile";
  EXPECT_FALSE(core.HasPending("a"));
  core.Done("a");
  EXPECT_EQ(Next(core), "-");
}

TEST(QueueCore, UrgentComesFirst) {
  WorkQueueCore core(1);
  for (const char* key : {"a", "b", "c"}) core.Add(key, Priority::kNormal);
  core.Add("c", Priority::kUrgent);
  core.Add("d", Priority::kUrgent);
  core.Add("c", Priority::kNormal);
  EXPECT_TRUE(core.UrgentWaits());
  EXPECT_EQ(Drain(core), "cdab");
}

// One that a worker has taken, or that only waits for its own pass to end, keeps nobody back.
TEST(QueueCore, UrgentWaitsForAWorker) {
  WorkQueueCore core(1);
  core.Add("a", Priority::kNormal);
  EXPECT_FALSE(core.UrgentWaits());
  core.Add("a", Priority::kUrgent);
  EXPECT_TRUE(core.UrgentWaits());
  EXPECT_EQ(Next(core), "a");
  EXPECT_FALSE(core.UrgentWaits());
  core.Add("a", Priority::kUrgent);
  EXPECT_FALSE(core.UrgentWaits());
  core.Done("a");
  EXPECT_TRUE(core.UrgentWaits());
}

TEST(QueueCore, APassThatIsUrgentGoesOnBeforeTheRest) {
  WorkQueueCore core(1);
  core.Add("a", Priority::kNormal);
  EXPECT_EQ(Next(core), "a");
  core.Add("b", Priority::kNormal);
  Outcome outcome;
  outcome.requeue_ms = 0;
  core.Finish("a", outcome, 0);
  EXPECT_EQ(Next(core), "b");
  core.Done("b");
  EXPECT_EQ(Next(core), "a");
  core.Add("b", Priority::kNormal);
  outcome.urgent = true;
  core.Finish("a", outcome, 0);
  EXPECT_EQ(Next(core), "a");
  EXPECT_FALSE(core.HasUrgent("a")) << "its own wish does not interrupt it";
}

TEST(QueueCore, Delays) {
  WorkQueueCore core(1);
  core.AddAt("a", 100);
  core.AddAt("a", 300);
  core.AddAt("b", 200);
  core.AddAt("b", 150);
  EXPECT_EQ(core.NextDue(), 100);
  EXPECT_EQ(Next(core, 99), "-");
  EXPECT_EQ(Next(core, 100), "a");
  EXPECT_EQ(core.NextDue(), 150) << "the earliest wish wins";
  core.Done("a");
  EXPECT_EQ(Next(core, 160), "b");
  EXPECT_EQ(core.NextDue(), -1);
}

TEST(QueueCore, APassFulfilsAnOlderWish) {
  WorkQueueCore core(1);
  core.AddAt("a", 100);
  core.Add("a", Priority::kNormal);
  EXPECT_EQ(Next(core, 50), "a");
  core.Done("a");
  EXPECT_EQ(Next(core, 200), "-");
}

TEST(QueueCore, BackOffGrowsUpToALimitAndIsForgotten) {
  WorkQueueCore core(1);
  MonoMs base = 50;
  for (int failure = 0; failure < 12; ++failure) {
    core.AddBackoff("a", 0);
    const MonoMs due = core.NextDue();
    EXPECT_GE(due, base / 2) << "failure " << failure;
    EXPECT_LT(due, base / 2 + base) << "failure " << failure;
    ASSERT_EQ(Next(core, 10'000), "a");
    core.Done("a");
    base = std::min<MonoMs>(base * 2, 5000);
  }
  core.Forget("a");
  core.AddBackoff("a", 0);
  EXPECT_LT(core.NextDue(), 75);
}

constexpr auto kPatience = std::chrono::seconds(5);

TEST(Controller, OneWorkerAKeyAtATime) {
  const SystemClock clock;
  WorkQueue queue(clock, 1);
  std::mutex mutex;
  std::set<std::string> busy;
  int passes = 0;
  bool overlapped = false;
  Controller controller(queue, clock, 4, [&](const std::string& key, std::stop_token) {
    {
      std::lock_guard lock(mutex);
      overlapped = overlapped || !busy.insert(key).second;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(200));
    std::lock_guard lock(mutex);
    busy.erase(key);
    ++passes;
    return Outcome{};
  });
  controller.Start();
  for (int i = 0; i < 300; ++i) queue.Add("key-" + std::to_string(i % 3));
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (queue.Depth() > 0 && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  controller.Stop();
  EXPECT_FALSE(overlapped);
  EXPECT_GE(passes, 3);
}

TEST(Controller, AFailureComesBackAndARequeueToo) {
  const SystemClock clock;
  WorkQueue queue(clock, 1);
  std::promise<void> enough;
  int passes = 0;
  Controller controller(queue, clock, 1, [&](const std::string&, std::stop_token) {
    ++passes;
    if (passes == 4) enough.set_value();
    if (passes == 1) return Outcome{false, -1};
    if (passes == 2) return Outcome{true, 0};
    return Outcome{true, passes < 4 ? 10 : -1};
  });
  controller.Start();
  queue.Add("a");
  EXPECT_EQ(enough.get_future().wait_for(kPatience), std::future_status::ready);
  controller.Stop();
  EXPECT_EQ(passes, 4);
}

TEST(Controller, StopAsksThePassToEndAndWaitsForIt) {
  const SystemClock clock;
  WorkQueue queue(clock, 1);
  std::promise<void> begun;
  bool ended = false;
  Controller controller(queue, clock, 2, [&](const std::string&, std::stop_token stop) {
    begun.set_value();
    while (!stop.stop_requested()) std::this_thread::yield();
    ended = true;
    return Outcome{};
  });
  controller.Start();
  queue.Add("a", Priority::kUrgent);
  ASSERT_EQ(begun.get_future().wait_for(kPatience), std::future_status::ready);
  controller.Stop();
  EXPECT_TRUE(ended);
}

TEST(WorkQueue, ANewKeyEndsTheWaitForADelayedOne) {
  const SystemClock clock;
  WorkQueue queue(clock, 1);
  queue.AddAfter("late", 60'000);
  std::stop_source stop;
  auto taken = std::async(std::launch::async, [&] { return queue.Take(stop.get_token()); });
  queue.Add("now");
  ASSERT_EQ(taken.wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(taken.get(), "now");
  auto rest = std::async(std::launch::async, [&] { return queue.Take(stop.get_token()); });
  stop.request_stop();
  ASSERT_EQ(rest.wait_for(kPatience), std::future_status::ready);
  EXPECT_FALSE(rest.get());
}

Item<int> Of(const std::string& key, const std::string& uid, std::int64_t version, int value,
             const std::string& group = "g", MonoMs put_at = 0) {
  return {key, uid, version, group, std::make_shared<const int>(value), put_at};
}

TEST(Store, OurOwnWriteIsVisibleAtOnce) {
  Store<int> store;
  store.Replace({Of("a", "u1", 5, 50)}, 10, 0);
  EXPECT_TRUE(store.Put(Of("a", "u1", 12, 120)));
  EXPECT_EQ(*store.Get("a"), 120);
  EXPECT_FALSE(store.Put(Of("a", "u1", 11, 110))) << "the watch is behind us";
  EXPECT_FALSE(store.Put(Of("a", "u1", 12, 121))) << "the watch brings our own write";
  EXPECT_EQ(*store.Get("a"), 120);
}

TEST(Store, AListDoesNotUndoANewerWrite) {
  Store<int> store;
  store.Put(Of("ours", "u1", 20, 1, "g", 105));
  store.Put(Of("old", "u2", 5, 2, "g", 105));
  const auto touched = store.Replace({Of("listed", "u3", 9, 3, "h")}, 10, 100);
  EXPECT_NE(store.Get("ours"), nullptr) << "newer than the list";
  EXPECT_EQ(store.Get("old"), nullptr) << "the list would have it";
  EXPECT_EQ(touched, (std::vector<std::string>{"g", "h"}));
}

TEST(Store, AListThatWasAskedForLaterTakesNewerVersionsBack) {
  Store<int> store;
  store.Put(Of("a", "u1", 20, 1, "g", 100));
  store.Put(Of("b", "u2", 21, 2, "h", 100));
  store.Put(Of("c", "u3", 15, 3, "i", 100));
  store.Remove("c", "u3", 101);
  const auto touched =
      store.Replace({Of("a", "u1", 8, 4), Of("c", "u3", 7, 5, "i")}, 10, 200);
  EXPECT_EQ(*store.Get("a"), 4) << "the server's store was set back";
  EXPECT_EQ(store.Get("b"), nullptr) << "it was created after that state";
  ASSERT_NE(store.Get("c"), nullptr) << "and this one was not deleted yet";
  EXPECT_EQ(touched, (std::vector<std::string>{"g", "h", "i"}));
  EXPECT_TRUE(store.Put(Of("a", "u1", 11, 6, "g", 210))) << "versions count on from there";
}

TEST(Store, AListNamesOnlyTheGroupsThatChanged) {
  Store<int> store;
  store.Replace({Of("a", "u1", 5, 1, "g1"), Of("b", "u2", 6, 2, "g2")}, 10, 0);
  EXPECT_EQ(store.Replace({Of("a", "u1", 5, 1, "g1"), Of("b", "u2", 12, 3, "g2")}, 12, 0),
            std::vector<std::string>{"g2"});
}

TEST(Store, ATombstoneStopsALateEvent) {
  Store<int> store;
  store.Put(Of("a", "u1", 5, 1));
  EXPECT_TRUE(store.Remove("a", "u1", 9));
  EXPECT_FALSE(store.Put(Of("a", "u1", 7, 1)));
  EXPECT_EQ(store.Get("a"), nullptr);
  EXPECT_TRUE(store.Put(Of("a", "u2", 6, 2))) << "another object of that name";
  EXPECT_FALSE(store.Remove("a", "u1", 9)) << "the new object stays";
  EXPECT_EQ(*store.Get("a"), 2);
}

TEST(Store, AListFromBeforeADeletionDoesNotBringTheObjectBack) {
  Store<int> store;
  store.Put(Of("a", "u1", 5, 1));
  store.Remove("a", "u1", 9);
  store.Replace({Of("a", "u1", 5, 1)}, 8, 0);
  EXPECT_EQ(store.Get("a"), nullptr);
}

TEST(Store, ByGroup) {
  Store<int, Index::kByGroup> store;
  store.Put(Of("a", "u1", 1, 1, "g1"));
  store.Put(Of("b", "u2", 1, 2, "g2"));
  store.Put(Of("c", "u3", 1, 3, "g1"));
  EXPECT_EQ(store.ByGroup("g1").size(), 2U);
  EXPECT_EQ(store.All().size(), 3U);
  EXPECT_EQ(store.Keys(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(store.size(), 3U);
  store.Put(Of("c", "u3", 2, 4, "g2"));
  EXPECT_EQ(store.ByGroup("g1").size(), 1U) << "it belongs to another group now";
  store.Remove("b", "u2", 3);
  ASSERT_EQ(store.ByGroup("g2").size(), 1U);
  EXPECT_EQ(*store.ByGroup("g2").front(), 4);
  store.Replace({Of("d", "u4", 5, 5, "g1")}, 5, 9);
  EXPECT_TRUE(store.ByGroup("g2").empty());
  EXPECT_EQ(*store.ByGroup("g1").front(), 5);
}

kube::LeaseRecord Held(const std::string& holder, const std::string& version) {
  kube::LeaseRecord record;
  record.holder = holder;
  record.duration_seconds = 5;
  record.resource_version = version;
  return record;
}

TEST(Election, Steps) {
  LeaderOptions options;
  options.identity = "me";
  LeaderState state;
  EXPECT_EQ(NextMove(state, options, 0), LeaseMove::kCreate);
  Observe(state, Held("you", "1"), 1000);
  EXPECT_EQ(NextMove(state, options, 5999), LeaseMove::kWait);
  EXPECT_EQ(NextMove(state, options, 6000), LeaseMove::kTake) << "unchanged for 5 s of our clock";
  Observe(state, Held("you", "2"), 5900);
  EXPECT_EQ(NextMove(state, options, 10'899), LeaseMove::kWait) << "it was renewed";
  Observe(state, Held("you", "2"), 9000);
  EXPECT_EQ(NextMove(state, options, 10'900), LeaseMove::kTake) << "a read alone renews nothing";
  Observe(state, Held("me", "3"), 11'000);
  EXPECT_EQ(NextMove(state, options, 99'000), LeaseMove::kRenew);
  Observe(state, Held("", "4"), 12'000);
  EXPECT_EQ(NextMove(state, options, 12'000), LeaseMove::kTake) << "given away";
  kube::LeaseRecord longer = Held("you", "5");
  longer.duration_seconds = 15;
  Observe(state, longer, 20'000);
  EXPECT_EQ(NextMove(state, options, 34'999), LeaseMove::kWait) << "the holder's own duration";
}

// The pure election, asked and answered by hand.
class Votes : public testing::Test {
 protected:
  using Call = LeaseAsk::Call;
  static LeaderOptions Mine() {
    LeaderOptions options;
    options.identity = "me";
    return options;
  }
  // An attempt at `now` that reads `record`: what it wants to do then.
  LeaseAsk Read(const kube::LeaseRecord& record, MonoMs now) {
    EXPECT_EQ(election_.Begin(now, 0).call, Call::kRead);
    return election_.OnAnswer(record, now, 0);
  }
  void Lead(MonoMs now) {
    EXPECT_EQ(Read(Held("", "1"), now).call, Call::kReplace);
    EXPECT_EQ(election_.OnAnswer(Held("me", "2"), now, 0).call, Call::kNone);
    ASSERT_TRUE(election_.leading());
  }
  Election election_{Mine()};
};

TEST_F(Votes, NobodyHasIt) {
  EXPECT_EQ(election_.Begin(0, 0).call, Call::kRead);
  const Error none{ErrorCode::kNotFound, "", 404, 0};
  EXPECT_EQ(election_.OnAnswer(tl::unexpected(none), 5, 0).call, Call::kCreate);
  EXPECT_FALSE(election_.leading());
  EXPECT_EQ(election_.OnAnswer(Held("me", "1"), 9, 0).call, Call::kNone);
  EXPECT_TRUE(election_.leading());
}

TEST_F(Votes, ALeaderRenewsWithoutReadingAndEndsAtTheDeadline) {
  Lead(1000);
  EXPECT_EQ(election_.Begin(2000, 0).call, Call::kReplace);
  const Error lost{ErrorCode::kDeadlineExceeded, "", 0, 0};
  EXPECT_EQ(election_.OnAnswer(tl::unexpected(lost), 2900, 0).call, Call::kRead);
  EXPECT_EQ(election_.OnAnswer(Held("me", "3"), 2950, 0).call, Call::kNone);
  EXPECT_TRUE(election_.leading()) << "the lost answer was read back, and renews nothing";
  EXPECT_FALSE(election_.Expire(4000));
  EXPECT_TRUE(election_.Expire(4001)) << "3 s after the last write that was answered was sent";
  EXPECT_FALSE(election_.leading());
}

TEST_F(Votes, ATakenLeaseEndsItAtOnce) {
  Lead(1000);
  EXPECT_EQ(election_.Begin(2000, 0).call, Call::kReplace);
  const Error conflict{ErrorCode::kConflict, "", 409, 0};
  EXPECT_EQ(election_.OnAnswer(tl::unexpected(conflict), 2010, 0).call, Call::kRead);
  EXPECT_FALSE(election_.leading());
  EXPECT_EQ(election_.OnAnswer(Held("you", "3"), 2020, 0).call, Call::kNone);
  EXPECT_EQ(Read(Held("you", "3"), 7019).call, Call::kNone);
  EXPECT_EQ(Read(Held("you", "3"), 7020).call, Call::kReplace);
}

TEST_F(Votes, ADeletedLeaseThatAnotherMadeAgainEndsIt) {
  Lead(1000);
  EXPECT_EQ(election_.Begin(2000, 0).call, Call::kReplace);
  const Error none{ErrorCode::kNotFound, "", 404, 0};
  EXPECT_EQ(election_.OnAnswer(tl::unexpected(none), 2010, 0).call, Call::kRead);
  EXPECT_EQ(election_.OnAnswer(Held("you", "9"), 2020, 0).call, Call::kNone);
  EXPECT_FALSE(election_.leading());
}

TEST_F(Votes, AnAnswerThatComesAfterTheDeadlineGivesNothing) {
  EXPECT_EQ(Read(Held("", "1"), 1000).call, Call::kReplace);
  EXPECT_EQ(election_.OnAnswer(Held("me", "2"), 9000, 0).call, Call::kNone);
  EXPECT_FALSE(election_.leading()) << "this process was stopped meanwhile";
}

TEST_F(Votes, ALowerVersionMeansThatTheStoreWasSetBack) {
  Read(Held("you", "12"), 0);
  EXPECT_FALSE(election_.TakeRewound());
  Read(Held("you", "7"), 1000);
  EXPECT_TRUE(election_.TakeRewound());
  Read(Held("you", "8"), 2000);
  EXPECT_FALSE(election_.TakeRewound()) << "told once";
}

// One Lease, held in memory; everything else is refused.
class FakeLeases final : public kube::Api {
 public:
  Result<Json> Get(const kube::ObjectRef&, std::int64_t) override {
    std::lock_guard lock(mutex_);
    if (down_) return Fail(ErrorCode::kUnavailable, "down");
    if (lease_.is_null()) return Fail(ErrorCode::kNotFound, "none");
    return lease_;
  }
  Result<Json> Create(const kube::ResourceType&, const std::string&, const Json& object,
                      std::int64_t) override {
    std::lock_guard lock(mutex_);
    if (down_) return Fail(ErrorCode::kUnavailable, "down");
    if (!lease_.is_null()) return Fail(ErrorCode::kAlreadyExists, "there is one");
    return Store(object);
  }
  Result<Json> Replace(const kube::ObjectRef&, const std::string&, const Json& object,
                       std::int64_t) override {
    std::lock_guard lock(mutex_);
    if (down_) return Fail(ErrorCode::kDeadlineExceeded, "down");
    if (Str(At(object, {"metadata", "resourceVersion"})) !=
        Str(At(lease_, {"metadata", "resourceVersion"}))) {
      return Fail(ErrorCode::kConflict, "changed");
    }
    return Store(object);
  }
  Result<Json> List(const kube::ResourceType&, const kube::ListOptions&, std::int64_t) override {
    return Fail(ErrorCode::kInternal, "unused");
  }
  Result<Json> Apply(const kube::ObjectRef&, const std::string&, const Json&,
                     std::int64_t) override {
    return Fail(ErrorCode::kInternal, "unused");
  }
  Result<Json> MergePatch(const kube::ObjectRef&, const std::string&, const Json&,
                          std::int64_t) override {
    return Fail(ErrorCode::kInternal, "unused");
  }
  Result<void> Delete(const kube::ObjectRef&, const kube::Preconditions&, int,
                      std::int64_t) override {
    return Fail(ErrorCode::kInternal, "unused");
  }
  void SetDown(bool down) {
    std::lock_guard lock(mutex_);
    down_ = down;
  }
  std::string Holder() {
    std::lock_guard lock(mutex_);
    return Str(At(lease_, {"spec", "holderIdentity"}));
  }

 private:
  Json Store(Json object) {
    object["metadata"]["resourceVersion"] = std::to_string(++version_);
    return lease_ = object;
  }
  std::mutex mutex_;
  Json lease_;
  int version_ = 0;
  bool down_ = false;
};

bool Eventually(const std::function<bool()>& holds) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < until) {
    if (holds()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return false;
}

LeaderOptions Quick(const std::string& identity) {
  return {"ns", "lease", identity, 1000, 300, 120};
}

TEST(Election, GainsRenewsAndGivesAwayAtAnOrderlyStop) {
  const SystemClock clock;
  FakeLeases api;
  int started = 0;
  int stopped = 0;
  LeaderElector elector(api, clock, Quick("me"), [&] { ++started; }, [&] { ++stopped; });
  {
    std::jthread runner([&](std::stop_token stop) { elector.Run(stop); });
    EXPECT_TRUE(Eventually([&] { return elector.IsLeader(); }));
    EXPECT_EQ(api.Holder(), "me");
  }
  EXPECT_FALSE(elector.IsLeader());
  EXPECT_EQ(api.Holder(), "") << "the other one need not wait";
  EXPECT_EQ(started, 1);
  EXPECT_EQ(stopped, 1);
}

TEST(Election, WorkStopsAtTheDeadlineThoughTheApiIsDown) {
  const SystemClock clock;
  FakeLeases api;
  std::atomic<int> stopped{0};
  LeaderElector elector(api, clock, Quick("me"), [] {}, [&] { ++stopped; });
  std::jthread runner([&](std::stop_token stop) { elector.Run(stop); });
  ASSERT_TRUE(Eventually([&] { return elector.IsLeader(); }));
  api.SetDown(true);
  EXPECT_TRUE(Eventually([&] { return !elector.IsLeader(); }));
  EXPECT_TRUE(Eventually([&] { return stopped == 1; }));
  api.SetDown(false);
  EXPECT_TRUE(Eventually([&] { return elector.IsLeader(); })) << "back without a restart";
}

TEST(Election, OneLeaderOfTwo) {
  const SystemClock clock;
  FakeLeases api;
  std::atomic<int> leading{0};
  std::atomic<bool> both{false};
  const auto gain = [&] { both = both || ++leading > 1; };
  const auto lose = [&] { --leading; };
  LeaderElector one(api, clock, Quick("one"), gain, lose);
  LeaderElector two(api, clock, Quick("two"), gain, lose);
  std::jthread first([&](std::stop_token stop) { one.Run(stop); });
  ASSERT_TRUE(Eventually([&] { return one.IsLeader(); }));
  std::jthread second([&](std::stop_token stop) { two.Run(stop); });
  one.StepDown(5000);
  EXPECT_TRUE(Eventually([&] { return two.IsLeader(); }));
  EXPECT_FALSE(one.IsLeader());
  EXPECT_FALSE(both);
}

}  // namespace
}  // namespace regroup::runtime
