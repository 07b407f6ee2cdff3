// One script for both: the simulator's API and a real kube-apiserver, reached by the real client.
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include <gtest/gtest.h>

#include "operator/kube/client.h"
#include "operator/kube/kubeconfig.h"
#include "operator/kube/reflector.h"
#include "tests/sim/fake_api.h"
#include "tests/sim/fake_watch.h"

namespace regroup {
namespace {

constexpr std::int64_t kTimeoutMs = 5000;
const kube::ResourceType kThings{"", "v1", "configmaps", true};
const kube::ResourceType kGroups{"regroup.dev", "v1alpha1", "replicationgroups", true};

// What a watch told, in words: "ADDED name", "BOOKMARK", or the HTTP status of its end. (410 is the
// model's alone: a real server forgets only after minutes.)
using Told = std::vector<std::string>;

std::string InWords(const std::string& type, const Json& object) {
  if (type == "ERROR") return std::to_string(Int(Child(object, "code")));
  const std::string name = Str(At(object, {"metadata", "name"}));
  return name.empty() ? type : type + " " + name;
}

class Backend {
 public:
  virtual ~Backend() = default;
  virtual kube::Api& api() = 0;
  // Watches, does `then` once the watch is open, and gives the first `count` things that it told.
  virtual Told Watch(const kube::ResourceType& type, const kube::WatchOptions& options,
                     const std::function<void()>& then, std::size_t count) = 0;
};

class ModelBackend final : public Backend {
 public:
  ModelBackend() {
    server_.OnCommit([this](const auto& commit) { watch_.OnCommit(commit); });
  }
  kube::Api& api() override { return api_; }
  Told Watch(const kube::ResourceType& type, const kube::WatchOptions& options,
             const std::function<void()>& then, std::size_t count) override {
    Told told;
    sim::FakeWatch::Sink sink;
    sink.on_event = [&told](const std::string& event, const kube::Object& object) {
      told.push_back(InWords(event, *object));
    };
    sink.on_end = [&told](const std::optional<Error>& error) {
      told.push_back(error ? std::to_string(error->http_status) : "end");
    };
    const std::uint64_t id = watch_.Open(type, options, std::move(sink));
    then();
    const MonoMs end = world_.Now() + kTimeoutMs;
    while (told.size() < count && world_.Now() < end && world_.RunOne()) {
    }
    watch_.Close(id);
    return told;
  }

 private:
  sim::World world_{3};
  sim::Network network_;
  sim::ApiServer server_{&world_};
  sim::ApiFaults faults_;
  sim::FakeApi api_{&server_, &world_, &network_, "op0", &faults_};
  sim::WatchFaults watch_faults_;
  MonoMs awake_at_ = 0;
  sim::FakeWatch watch_{&server_, &world_, &network_, "op0", &watch_faults_, &awake_at_};
};

// A kube-apiserver on loopback, ended when its standard input closes.
class RealBackend final : public Backend {
 public:
  RealBackend() {
    int in[2];
    int out[2];
    if (pipe(in) != 0 || pipe(out) != 0) return;
    pid_ = fork();
    if (pid_ == 0) {
      dup2(in[0], STDIN_FILENO);
      dup2(out[1], STDOUT_FILENO);
      for (const int fd : {in[0], in[1], out[0], out[1]}) close(fd);
      execl("/usr/bin/python3", "python3", "tests/integration/apiserver.py", "--print-kubeconfig",
            "--crds", nullptr);
      _exit(127);
    }
    close(in[0]);
    close(out[1]);
    stdin_ = in[1];
    std::string path;
    char c = 0;
    while (read(out[0], &c, 1) == 1 && c != '\n') path += c;
    close(out[0]);
    auto config = kube::LoadKubeconfig(path);
    if (!config) return;
    auto client = kube::Client::Create(*config, clock_);
    if (client) client_ = std::move(*client);
  }
  ~RealBackend() override {
    if (stdin_ >= 0) close(stdin_);
    if (pid_ > 0) waitpid(pid_, nullptr, 0);
  }
  kube::Api& api() override { return *client_; }
  Told Watch(const kube::ResourceType& type, const kube::WatchOptions& options,
             const std::function<void()>& then, std::size_t count) override {
    std::mutex mutex;
    std::condition_variable ready;
    Told told;
    const auto tell = [&](std::string words) {
      std::lock_guard lock(mutex);
      told.push_back(std::move(words));
      ready.notify_all();
    };
    const auto stream = client_->Watch(
        type, options,
        [&](const std::string& line) {
          const auto read = kube::ParseWatchLine(line);
          if (read) tell(InWords(read->type, *read->object));
        },
        [&](const std::optional<Error>& error) {
          tell(error ? std::to_string(error->http_status) : "end");
        });
    then();
    {
      std::unique_lock lock(mutex);
      ready.wait_for(lock, std::chrono::milliseconds(kTimeoutMs),
                     [&] { return told.size() >= count; });
    }
    stream->Cancel();
    std::lock_guard lock(mutex);
    if (told.size() > count) told.resize(count);
    return told;
  }
  bool ok() const { return client_ != nullptr; }

 private:
  SystemClock clock_;
  std::unique_ptr<kube::Client> client_;
  pid_t pid_ = -1;
  int stdin_ = -1;
};

Json Group(const std::string& name) {
  return Json{{"apiVersion", "regroup.dev/v1alpha1"},
              {"kind", "ReplicationGroup"},
              {"metadata", {{"name", name}, {"namespace", "default"}}},
              {"spec",
               {{"description", "contract"},
                {"engine", "redis"},
                {"engineVersion", "7.0"},
                {"cacheNodeType", "cache.t4g.small"},
                {"replicasPerNodeGroup", 1}}}};
}

Json Thing(const std::string& name) {
  return Json{{"apiVersion", "v1"},
              {"kind", "ConfigMap"},
              {"metadata", {{"name", name}, {"namespace", "default"}}}};
}

std::string Version(const Json& object) { return Str(At(object, {"metadata", "resourceVersion"})); }
std::string Uid(const Json& object) { return Str(At(object, {"metadata", "uid"})); }

class ApiContract : public testing::TestWithParam<const char*> {
 protected:
  static void SetUpTestSuite() {
    auto real = std::make_unique<RealBackend>();
    if (real->ok()) real_ = std::move(real);
  }
  static void TearDownTestSuite() { real_.reset(); }
  void SetUp() override {
    if (std::string(GetParam()) == "real") {
      ASSERT_NE(real_, nullptr) << "no kube-apiserver could be started: ./dev cluster up builds it";
    }
  }
  Backend& backend() {
    return std::string(GetParam()) == "real" ? static_cast<Backend&>(*real_) : model_;
  }
  kube::Api& api() { return backend().api(); }
  static kube::ObjectRef ThingRef(const std::string& name) { return {kThings, "default", name}; }
  static kube::ObjectRef GroupRef(const std::string& name) { return {kGroups, "default", name}; }

  inline static std::unique_ptr<RealBackend> real_;
  ModelBackend model_;
};

TEST_P(ApiContract, CreateGetAndTheirErrors) {
  ASSERT_TRUE(api().Create(kThings, "default", Thing("a"), kTimeoutMs).has_value());
  const auto again = api().Create(kThings, "default", Thing("a"), kTimeoutMs);
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code, ErrorCode::kAlreadyExists);
  EXPECT_TRUE(api().Get(ThingRef("a"), kTimeoutMs).has_value());
  EXPECT_EQ(api().Get(ThingRef("none"), kTimeoutMs).error().code, ErrorCode::kNotFound);
}

TEST_P(ApiContract, ReplaceIsACompareAndSwap) {
  Json first = *api().Create(kThings, "default", Thing("cas"), kTimeoutMs);
  Json second = first;
  first["data"] = {{"k", "1"}};
  ASSERT_TRUE(api().Replace(ThingRef("cas"), "", first, kTimeoutMs).has_value());
  second["data"] = {{"k", "2"}};
  const auto lost = api().Replace(ThingRef("cas"), "", second, kTimeoutMs);
  ASSERT_FALSE(lost.has_value());
  EXPECT_EQ(lost.error().code, ErrorCode::kConflict);
  EXPECT_EQ(Str(At(*api().Get(ThingRef("cas"), kTimeoutMs), {"data", "k"})), "1");
}

TEST_P(ApiContract, AWriteThatChangesNothingHasNoVersion) {
  const Json first = *api().Create(kThings, "default", Thing("same"), kTimeoutMs);
  const Json second = *api().Replace(ThingRef("same"), "", first, kTimeoutMs);
  EXPECT_EQ(Version(first), Version(second));
}

TEST_P(ApiContract, StatusIsWrittenApartAndByVersion) {
  const Json created = *api().Create(kGroups, "default", Group("st"), kTimeoutMs);
  EXPECT_EQ(Int(At(created, {"metadata", "generation"})), 1);
  Json update = created;
  update["spec"]["description"] = "must not be written";
  update["status"] = {{"observedGeneration", 1},
                      {"nodeGroups", Json::array({{{"nodeGroupID", "0001"}, {"epoch", 7}}})}};
  const auto stored = api().Replace(GroupRef("st"), "status", update, kTimeoutMs);
  ASSERT_TRUE(stored.has_value()) << stored.error().message;
  EXPECT_EQ(Str(At(*stored, {"spec", "description"})), "contract");
  EXPECT_EQ(Int(At(*stored, {"metadata", "generation"})), 1);
  EXPECT_EQ(Int(Child(Child(*stored, "status")["nodeGroups"].front(), "epoch")), 7);
  const auto stale = api().Replace(GroupRef("st"), "status", update, kTimeoutMs);
  ASSERT_FALSE(stale.has_value());
  EXPECT_EQ(stale.error().code, ErrorCode::kConflict);
}

TEST_P(ApiContract, MergePatchHoldsUidAndVersion) {
  const Json created = *api().Create(kThings, "default", Thing("patch"), kTimeoutMs);
  const auto patch = [&](const std::string& uid, const std::string& version, const char* value) {
    Json body{{"metadata", {{"uid", uid}, {"labels", {{"role", value}}}}}};
    if (!version.empty()) body["metadata"]["resourceVersion"] = version;
    return api().MergePatch(ThingRef("patch"), "", body, kTimeoutMs);
  };
  const auto stored = patch(Uid(created), Version(created), "primary");
  ASSERT_TRUE(stored.has_value()) << stored.error().message;
  EXPECT_EQ(Str(At(*stored, {"metadata", "labels", "role"})), "primary");
  EXPECT_FALSE(patch(Uid(created), Version(created), "late").has_value());
  EXPECT_FALSE(patch("00000000-0000-0000-0000-000000000000", "", "other").has_value());
}

TEST_P(ApiContract, ApplyCreatesMergesAndIsConditional) {
  Json wanted = Thing("apply");
  wanted["data"] = {{"a", "1"}, {"b", "2"}};
  const auto first = api().Apply(ThingRef("apply"), "regroup", wanted, kTimeoutMs);
  ASSERT_TRUE(first.has_value()) << first.error().message;
  wanted["data"] = {{"a", "3"}};
  const auto second = api().Apply(ThingRef("apply"), "regroup", wanted, kTimeoutMs);
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(Str(At(*second, {"data", "a"})), "3");
  EXPECT_FALSE(Child(*second, "data").contains("b")) << "a field no longer applied goes";
  wanted["metadata"]["resourceVersion"] = Version(*first);
  const auto stale = api().Apply(ThingRef("apply"), "regroup", wanted, kTimeoutMs);
  ASSERT_FALSE(stale.has_value());
  EXPECT_EQ(stale.error().code, ErrorCode::kConflict);
}

TEST_P(ApiContract, DeleteHoldsItsPreconditions) {
  const Json created = *api().Create(kThings, "default", Thing("gone"), kTimeoutMs);
  const auto other = api().Delete(ThingRef("gone"), {"another-uid", ""}, -1, kTimeoutMs);
  ASSERT_FALSE(other.has_value());
  EXPECT_EQ(other.error().code, ErrorCode::kConflict);
  const auto stale = api().Delete(ThingRef("gone"), {Uid(created), "1"}, -1, kTimeoutMs);
  ASSERT_FALSE(stale.has_value());
  EXPECT_EQ(stale.error().code, ErrorCode::kConflict);
  EXPECT_TRUE(
      api().Delete(ThingRef("gone"), {Uid(created), Version(created)}, -1, kTimeoutMs).has_value());
  EXPECT_EQ(api().Get(ThingRef("gone"), kTimeoutMs).error().code, ErrorCode::kNotFound);
}

TEST_P(ApiContract, AFinalizerHoldsADeletedObject) {
  Json group = Group("fin");
  group["metadata"]["finalizers"] = {"regroup.dev/members"};
  const Json created = *api().Create(kGroups, "default", group, kTimeoutMs);
  ASSERT_TRUE(api().Delete(GroupRef("fin"), {Uid(created), ""}, -1, kTimeoutMs).has_value());
  const Json held = *api().Get(GroupRef("fin"), kTimeoutMs);
  EXPECT_TRUE(At(held, {"metadata", "deletionTimestamp"}).is_string());
  const Json patch{{"metadata", {{"uid", Uid(created)}, {"finalizers", Json::array()}}}};
  ASSERT_TRUE(api().MergePatch(GroupRef("fin"), "", patch, kTimeoutMs).has_value());
  EXPECT_EQ(api().Get(GroupRef("fin"), kTimeoutMs).error().code, ErrorCode::kNotFound);
}

TEST_P(ApiContract, ListSelectsByLabel) {
  Json ours = Thing("ours");
  ours["metadata"]["labels"] = {{"app.kubernetes.io/managed-by", "regroup"}};
  ASSERT_TRUE(api().Create(kThings, "default", ours, kTimeoutMs).has_value());
  ASSERT_TRUE(api().Create(kThings, "default", Thing("theirs"), kTimeoutMs).has_value());
  kube::ListOptions options;
  options.label_selector = "app.kubernetes.io/managed-by=regroup";
  const auto list = api().List(kThings, options, kTimeoutMs);
  ASSERT_TRUE(list.has_value());
  ASSERT_EQ(Child(*list, "items").size(), 1U);
  EXPECT_EQ(Str(At(Child(*list, "items").front(), {"metadata", "name"})), "ours");
}

TEST_P(ApiContract, PagesShowOneState) {
  kube::ListOptions options;
  options.label_selector = "test=pages";
  options.limit = 2;
  const auto create = [&](const char* name) {
    Json thing = Thing(name);
    thing["metadata"]["labels"] = {{"test", "pages"}};
    ASSERT_TRUE(api().Create(kThings, "default", thing, kTimeoutMs).has_value());
  };
  for (const char* name : {"page-a", "page-b", "page-c"}) create(name);
  const Json first = *api().List(kThings, options, kTimeoutMs);
  EXPECT_EQ(Child(first, "items").size(), 2U);
  create("page-bb");
  options.continue_token = Str(At(first, {"metadata", "continue"}));
  const Json second = *api().List(kThings, options, kTimeoutMs);
  ASSERT_EQ(Child(second, "items").size(), 1U) << "what was created meanwhile is not in it";
  EXPECT_EQ(Str(At(Child(second, "items").front(), {"metadata", "name"})), "page-c");
  EXPECT_EQ(Version(first), Version(second));
  EXPECT_TRUE(Str(At(second, {"metadata", "continue"})).empty());
}

class WatchContract : public ApiContract {
 protected:
  static kube::WatchOptions Labelled(const std::string& value) {
    kube::WatchOptions options;
    options.namespace_name = "default";
    options.label_selector = "test=" + value;
    return options;
  }
  Json Create(const std::string& name, const std::string& label) {
    Json thing = Thing(name);
    thing["metadata"]["labels"] = {{"test", label}};
    return *api().Create(kThings, "default", thing, kTimeoutMs);
  }
};

TEST_P(WatchContract, FirstTheSetThenItsEndThenChanges) {
  Create("set-a", "set");
  kube::WatchOptions options = Labelled("set");
  options.send_initial_events = true;
  const Told told = backend().Watch(kThings, options, [&] {
    // The set is told before its end, whatever happens meanwhile.
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    const Json b = Create("set-b", "set");
    ASSERT_TRUE(api().Delete(ThingRef("set-b"), {Uid(b), ""}, -1, kTimeoutMs).has_value());
  }, 4);
  EXPECT_EQ(told, (Told{"ADDED set-a", "BOOKMARK", "ADDED set-b", "DELETED set-b"}));
}

TEST_P(WatchContract, GoesOnAfterAVersion) {
  const Json a = Create("on-a", "on");
  Create("on-b", "on");
  kube::WatchOptions options = Labelled("on");
  options.resource_version = Version(a);
  EXPECT_EQ(backend().Watch(kThings, options, [] {}, 1), Told{"ADDED on-b"});
}

TEST_P(WatchContract, ASelectorLosesAndFindsObjects) {
  const Json thing = Create("sight", "other");
  kube::WatchOptions options = Labelled("sight");
  options.resource_version = Version(thing);
  const auto label = [&](const char* value) {
    const Json patch{{"metadata", {{"labels", {{"test", value}}}}}};
    ASSERT_TRUE(api().MergePatch(ThingRef("sight"), "", patch, kTimeoutMs).has_value());
  };
  const Told told = backend().Watch(kThings, options, [&] {
    label("sight");
    label("other");
  }, 2);
  EXPECT_EQ(told, (Told{"ADDED sight", "DELETED sight"}));
}

TEST_P(WatchContract, AVersionOfTheFutureIsSilent) {
  const Json thing = Create("future", "future");
  kube::WatchOptions options = Labelled("future");
  options.resource_version = std::to_string(std::stoll(Version(thing)) + 100'000);
  const Told told =
      backend().Watch(kThings, options, [&] { Create("future-b", "future"); }, 1);
  EXPECT_EQ(told, Told{}) << "so a store that was set back is found by other means";
}

INSTANTIATE_TEST_SUITE_P(Both, WatchContract, testing::Values("model", "real"),
                         [](const auto& param_info) { return std::string(param_info.param); });

INSTANTIATE_TEST_SUITE_P(Both, ApiContract, testing::Values("model", "real"),
                         [](const auto& param_info) { return std::string(param_info.param); });

}  // namespace
}  // namespace regroup
