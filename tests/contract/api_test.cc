// One script for both: the simulator's API and a real kube-apiserver, reached by the real client.
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>

#include <gtest/gtest.h>

#include "operator/kube/client.h"
#include "operator/kube/kubeconfig.h"
#include "tests/sim/fake_api.h"

namespace regroup {
namespace {

constexpr std::int64_t kTimeoutMs = 5000;
const kube::ResourceType kThings{"", "v1", "configmaps", true};
const kube::ResourceType kGroups{"regroup.dev", "v1alpha1", "replicationgroups", true};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual kube::Api& api() = 0;
};

class ModelBackend final : public Backend {
 public:
  kube::Api& api() override { return api_; }

 private:
  sim::World world_{3};
  sim::Network network_;
  sim::ApiServer server_{&world_};
  sim::ApiFaults faults_;
  sim::FakeApi api_{&server_, &world_, &network_, "op0", &faults_};
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
  kube::Api& api() {
    return std::string(GetParam()) == "real" ? real_->api() : model_.api();
  }
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

INSTANTIATE_TEST_SUITE_P(Both, ApiContract, testing::Values("model", "real"),
                         [](const auto& param_info) { return std::string(param_info.param); });

}  // namespace
}  // namespace regroup
