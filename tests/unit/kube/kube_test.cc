// The kube room without a server: the reflector's steps and loop, errors, paths, kubeconfig, Lease.
#include <gtest/gtest.h>

#include <unistd.h>

#include <atomic>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>

#include "operator/kube/client.h"
#include "operator/kube/kubeconfig.h"
#include "operator/kube/lease.h"
#include "operator/kube/reflector.h"
#include "operator/kube/transport.h"

namespace regroup::kube {
namespace {

std::string Event(const std::string& type, const std::string& name, int version) {
  return R"({"type": ")" + type + R"(", "object": {"metadata": {"name": ")" + name +
         R"(", "resourceVersion": ")" + std::to_string(version) + R"("}}})";
}
std::string Bookmark(int version, bool end) {
  return R"({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": ")" +
         std::to_string(version) + "\"" +
         (end ? R"(, "annotations": {"k8s.io/initial-events-end": "true"})" : "") + "}}}";
}
std::string Failure(int code) {
  return R"({"type": "ERROR", "object": {"kind": "Status", "code": )" + std::to_string(code) +
         R"(, "message": "no"}})";
}

// One line as the loop takes it.
WatchOutcome OnLine(WatchState& state, const std::string& line) {
  const std::optional<WatchLine> read = ParseWatchLine(line);
  return read ? OnWatchEvent(state, read->type, read->object) : WatchOutcome{};
}

TEST(WatchLine, InitialEventsAreOneSet) {
  WatchState state;
  EXPECT_FALSE(OnLine(state, Event("ADDED", "a", 5)).event);
  EXPECT_FALSE(OnLine(state, Event("ADDED", "b", 3)).event);
  EXPECT_FALSE(OnLine(state, Bookmark(6, false)).replace) << "a bookmark is not yet the end";
  EXPECT_TRUE(OnLine(state, Bookmark(9, true)).replace);
  EXPECT_EQ(state.collected.objects.size(), 2U);
  EXPECT_EQ(state.resource_version, "9");
  EXPECT_FALSE(state.initial);
}

TEST(WatchLine, AfterThatEventsInOrder) {
  WatchState state;
  state.initial = false;
  struct Row {
    const char* type;
    EventType expected;
  };
  for (const Row& row : std::vector<Row>{{"ADDED", EventType::kAdded},
                                         {"MODIFIED", EventType::kModified},
                                         {"DELETED", EventType::kDeleted}}) {
    const WatchOutcome outcome = OnLine(state, Event(row.type, "a", 12));
    EXPECT_TRUE(outcome.event) << row.type;
    EXPECT_TRUE(outcome.type == row.expected) << row.type;
    EXPECT_EQ(state.collected.objects.size(), 0U);
  }
  EXPECT_EQ(state.resource_version, "12");
  const WatchOutcome mark = OnLine(state, Bookmark(40, true));
  EXPECT_FALSE(mark.event || mark.replace);
  EXPECT_EQ(state.resource_version, "40");
}

TEST(ParseObject, WithoutManagedFields) {
  const Result<Json> object = ParseObject(
      R"({"items":[{"a":"\"managedFields\":[","managedFields":[{"k":"]\"["},[1]],"b":1},)"
      R"({"managedFields":[],"c":2}]})");
  ASSERT_TRUE(object);
  EXPECT_EQ(object->dump(), R"({"items":[{"a":"\"managedFields\":[","b":1,"managedFields":[]},)"
                            R"({"c":2,"managedFields":[]}]})");
  EXPECT_EQ(ParseObject(R"({"d":3})")->dump(), R"({"d":3})");
  EXPECT_FALSE(ParseObject(R"({"managedFields":[{)"));
}

TEST(WatchLine, ErrorsAndNonsense) {
  WatchState state;
  state.initial = false;
  state.resource_version = "7";
  EXPECT_EQ(OnLine(state, Failure(410)).failed->code, ErrorCode::kGone);
  EXPECT_EQ(OnLine(state, Failure(500)).failed->code, ErrorCode::kUnavailable);
  for (const char* line : {"", "{", "[]", "7", "null"}) {
    const WatchOutcome outcome = OnLine(state, line);
    EXPECT_FALSE(outcome.failed) << "'" << line << "' must not end the watch";
  }
  EXPECT_EQ(state.resource_version, "7");
}

TEST(WatchLine, ASetBelowAnEarlierVersionWasSetBack) {
  WatchState state;
  const auto set_at = [&](int version) {
    state.initial = true;
    BeginWatch(state, {}, 70);
    OnLine(state, Event("ADDED", "a", 3));
    EXPECT_TRUE(OnLine(state, Bookmark(version, true)).replace);
    EXPECT_EQ(state.collected.asked_at, 70);
    return state.collected.rewound;
  };
  EXPECT_FALSE(set_at(9));
  OnLine(state, Event("MODIFIED", "a", 30));
  EXPECT_FALSE(set_at(30));
  OnLine(state, Bookmark(44, false));
  EXPECT_TRUE(set_at(43)) << "a bookmark counts too";
  EXPECT_FALSE(set_at(43)) << "told once";
}

TEST(WatchEnd, ASilentWatchBeginsFromNothing) {
  WatchState state;
  state.initial = false;
  EXPECT_TRUE(OnWatchEnd(state, Silence(), 0).relist)
      << "a server that was set back says nothing until it has passed our version again";
}

struct EndRow {
  const char* name;
  bool initial;
  int failures;
  std::optional<Error> error;
  double jitter;
  std::int64_t wait_ms;
  bool relist;
};

TEST(WatchEnd, Rows) {
  const Error gone{ErrorCode::kGone, "", 410, 0};
  const Error down{ErrorCode::kUnavailable, "", 0, 0};
  const Error busy{ErrorCode::kTooManyRequests, "", 429, 7000};
  for (const EndRow& row : std::vector<EndRow>{
           {"a clean end: on at once", false, 3, std::nullopt, 0.5, 0, false},
           {"a clean end before the set was whole", true, 0, std::nullopt, 0.5, 100, true},
           {"410: from nothing", false, 0, gone, 0, 100, true},
           {"a lost connection: from nothing", false, 0, down, 0, 100, true},
           {"a lost connection while collecting", true, 0, down, 0, 100, true},
           {"with jitter", false, 0, down, 0.5, 150, true},
           {"the second failure", false, 1, down, 0, 200, true},
           {"the sixth", false, 5, down, 0, 2000, true},
           {"never over two seconds, and jitter", false, 60, down, 0.5, 3000, true},
           {"429: what the server asks for", false, 0, busy, 0, 7000, false}}) {
    SCOPED_TRACE(std::string("row: ") + row.name);
    WatchState state;
    state.initial = row.initial;
    state.failures = row.failures;
    const Restart restart = OnWatchEnd(state, row.error, row.jitter);
    EXPECT_EQ(restart.wait_ms, row.wait_ms);
    EXPECT_EQ(restart.relist, row.relist);
    EXPECT_EQ(state.failures, row.error ? row.failures + 1 : 0);
  }
}

TEST(WatchEnd, AnOlderServerGetsListAndWatch) {
  WatchState state;
  const Restart restart = OnWatchEnd(state, Error{ErrorCode::kInvalid, "", 400, 0}, 0);
  EXPECT_FALSE(state.use_watch_list);
  EXPECT_EQ(restart.wait_ms, 0);
  EXPECT_TRUE(restart.relist);
  OnWatchEnd(state, Error{ErrorCode::kInvalid, "", 400, 0}, 0);
  EXPECT_EQ(state.failures, 1) << "it refuses more than that: back off";
}

// A scripted server: each watch gives its lines and its end; lists give pages.
class Script final : public Api, public WatchApi {
 public:
  struct Watching {
    std::vector<std::string> lines;
    std::optional<Error> end;
    bool stays_open = false;
  };
  std::deque<Watching> watches;
  std::deque<Result<Json>> pages;
  std::vector<std::string> asked;

  struct Stream final : WatchStream {
    void Cancel() override {}
  };
  std::unique_ptr<WatchStream> Watch(const ResourceType&, const WatchOptions& options,
                                     std::function<void(std::string)> on_line,
                                     std::function<void(std::optional<Error>)> on_end) override {
    asked.push_back(options.send_initial_events ? "watch-list" :
                                                  "watch " + options.resource_version);
    if (watches.empty()) return std::make_unique<Stream>();
    const Watching watch = watches.front();
    watches.pop_front();
    for (const std::string& line : watch.lines) on_line(line);
    if (!watch.stays_open) on_end(watch.end);
    return std::make_unique<Stream>();
  }
  Result<Json> List(const ResourceType&, const ListOptions& options, std::int64_t) override {
    asked.push_back("list " + options.continue_token);
    if (pages.empty()) return Fail(ErrorCode::kUnavailable, "no page");
    Result<Json> page = pages.front();
    pages.pop_front();
    return page;
  }
  Result<Json> Get(const ObjectRef& ref, std::int64_t) override {
    asked.push_back("get " + ref.name);
    return stored;
  }
  Result<Json> Create(const ResourceType&, const std::string&, const Json& object,
                      std::int64_t) override {
    return stored = object;
  }
  Result<Json> Replace(const ObjectRef&, const std::string&, const Json& object,
                       std::int64_t) override {
    return stored = object;
  }
  Result<Json> Apply(const ObjectRef&, const std::string&, const Json&, std::int64_t) override {
    return Fail(ErrorCode::kInternal, "unused");
  }
  Result<Json> MergePatch(const ObjectRef&, const std::string&, const Json&,
                          std::int64_t) override {
    return Fail(ErrorCode::kInternal, "unused");
  }
  Result<void> Delete(const ObjectRef&, const Preconditions&, int, std::int64_t) override {
    return Fail(ErrorCode::kInternal, "unused");
  }
  Json stored;
};

// Runs until the named last event has come; gives what the sink was told.
std::vector<std::string> RunReflector(Script& script) {
  const SystemClock clock;
  std::stop_source stop;
  std::vector<std::string> told;
  ReflectorSink sink;
  sink.on_replace = [&](const ListedSet& set) {
    told.push_back((set.rewound ? "rewound " : "replace ") + std::to_string(set.objects.size()) +
                   " @" + set.resource_version);
  };
  sink.on_event = [&](EventType type, const Json& object) {
    const std::string name = Str(At(object, {"metadata", "name"}));
    told.push_back(std::to_string(static_cast<int>(type)) + " " + name);
    if (name == "last") stop.request_stop();
  };
  sink.on_restart = [&](const Error&) { told.push_back("restart"); };
  Reflector reflector(script, script, clock, 1, {"", "v1", "pods", true}, {}, sink);
  reflector.Run(stop.get_token());
  EXPECT_TRUE(reflector.Synced());
  return told;
}

using Told = std::vector<std::string>;

TEST(Reflector, WatchListThenEvents) {
  Script script;
  script.watches.push_back({{Event("ADDED", "a", 5), Bookmark(9, true), Event("DELETED", "a", 10),
                             Event("ADDED", "last", 11)}, std::nullopt, true});
  EXPECT_EQ(RunReflector(script), (Told{"replace 1 @9", "2 a", "0 last"}));
  EXPECT_EQ(script.asked, Told{"watch-list"});
}

TEST(Reflector, AnEndedWatchGoesOnFromItsVersion) {
  Script script;
  script.watches.push_back({{Bookmark(9, true)}, std::nullopt, false});
  script.watches.push_back({{Bookmark(20, false)}, std::nullopt, false});
  script.watches.push_back({{Event("ADDED", "last", 21)}, std::nullopt, true});
  EXPECT_EQ(RunReflector(script), (Told{"replace 0 @9", "0 last"}));
  EXPECT_EQ(script.asked, (Told{"watch-list", "watch 9", "watch 20"}));
}

TEST(Reflector, After410TheSetIsReplaced) {
  Script script;
  script.watches.push_back({{Event("ADDED", "a", 5), Bookmark(9, true), Failure(410)},
                            std::nullopt, true});
  script.watches.push_back({{Event("ADDED", "b", 30), Bookmark(31, true),
                             Event("MODIFIED", "last", 32)}, std::nullopt, true});
  EXPECT_EQ(RunReflector(script), (Told{"replace 1 @9", "restart", "replace 1 @31", "1 last"}));
  EXPECT_EQ(script.asked, (Told{"watch-list", "watch-list"}));
}

TEST(Reflector, BeginsFromNothingWhenAsked) {
  Script script;
  script.watches.push_back({{Bookmark(9, true)}, std::nullopt, true});
  script.watches.push_back({{Event("ADDED", "a", 3), Bookmark(5, true)}, std::nullopt, true});
  const SystemClock clock;
  std::stop_source stop;
  Told told;
  Reflector* running = nullptr;
  ReflectorSink sink;
  sink.on_replace = [&](const ListedSet& set) {
    told.push_back((set.rewound ? "rewound @" : "replace @") + set.resource_version);
    if (told.size() == 1) running->Relist();
    if (told.size() == 2) stop.request_stop();
  };
  Reflector reflector(script, script, clock, 1, {"", "v1", "pods", true}, {}, sink);
  running = &reflector;
  reflector.Run(stop.get_token());
  EXPECT_EQ(told, (Told{"replace @9", "replace @5"})) << "who asked knows that it was set back";
  EXPECT_EQ(script.asked, (Told{"watch-list", "watch-list"}));
}

TEST(Reflector, AHalfSetIsThrownAway) {
  Script script;
  script.watches.push_back({{Event("ADDED", "a", 5)}, Error{ErrorCode::kUnavailable, "", 0, 0},
                            false});
  script.watches.push_back({{Event("ADDED", "b", 5), Bookmark(9, true),
                             Event("ADDED", "last", 11)}, std::nullopt, true});
  EXPECT_EQ(RunReflector(script), (Told{"restart", "replace 1 @9", "0 last"}));
}

TEST(Reflector, FallsBackToPagesAndAWatch) {
  Script script;
  script.watches.push_back({{}, Error{ErrorCode::kInvalid, "sendInitialEvents", 422, 0}, false});
  script.pages.push_back(*ParseJson(R"({"metadata": {"resourceVersion": "50", "continue": "c1"},
                                        "items": [{"a": 1}, {"b": 2}]})"));
  script.pages.push_back(*ParseJson(R"({"metadata": {"resourceVersion": "50"},
                                        "items": [{"c": 3}]})"));
  script.watches.push_back({{Event("ADDED", "last", 51)}, std::nullopt, true});
  EXPECT_EQ(RunReflector(script), (Told{"restart", "replace 3 @50", "0 last"}));
  EXPECT_EQ(script.asked, (Told{"watch-list", "list ", "list c1", "watch 50"}));
}

TEST(Errors, OfAStatus) {
  struct Row {
    int status;
    const char* body;
    ErrorCode code;
  };
  for (const Row& row : std::vector<Row>{
           {400, "", ErrorCode::kInvalid}, {401, "", ErrorCode::kForbidden},
           {403, "", ErrorCode::kForbidden}, {404, "", ErrorCode::kNotFound},
           {409, "", ErrorCode::kConflict},
           {409, R"({"reason": "AlreadyExists"})", ErrorCode::kAlreadyExists},
           {409, R"({"reason": "Conflict"})", ErrorCode::kConflict},
           {410, "", ErrorCode::kGone}, {412, "", ErrorCode::kConflict},
           {422, "", ErrorCode::kInvalid}, {429, "", ErrorCode::kTooManyRequests},
           {500, "<html>", ErrorCode::kUnavailable}, {503, "", ErrorCode::kUnavailable},
           {504, "", ErrorCode::kDeadlineExceeded}, {302, "", ErrorCode::kInternal}}) {
    const Error error = ErrorOfStatus(row.status, row.body, 5);
    EXPECT_EQ(ToString(error.code), ToString(row.code)) << row.status << " " << row.body;
    EXPECT_EQ(error.http_status, row.status);
    EXPECT_EQ(error.retry_after_ms, 5);
  }
  EXPECT_EQ(ErrorOfStatus(404, R"({"message": "pods \"x\" not found"})", 0).message,
            "HTTP 404: pods \"x\" not found");
}

TEST(Paths, Rows) {
  const ResourceType pods{"", "v1", "pods", true};
  const ResourceType groups{"regroup.dev", "v1alpha1", "replicationgroups", true};
  const ResourceType nodes{"", "v1", "nodes", false};
  EXPECT_EQ(PathOf(pods, "shop", "a", ""), "/api/v1/namespaces/shop/pods/a");
  EXPECT_EQ(PathOf(pods, "", "", ""), "/api/v1/pods");
  EXPECT_EQ(PathOf(nodes, "shop", "n1", ""), "/api/v1/nodes/n1");
  EXPECT_EQ(PathOf(groups, "shop", "web", "status"),
            "/apis/regroup.dev/v1alpha1/namespaces/shop/replicationgroups/web/status");
  EXPECT_EQ(EncodeQuery("regroup.dev/group=a b,c&d+é~-_."),
            "regroup.dev%2Fgroup%3Da%20b%2Cc%26d%2B%C3%A9~-_.");
}

class Kubeconfig : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = std::filesystem::path(testing::TempDir()) / ("kubeconfig-" + std::to_string(getpid()));
    std::filesystem::create_directories(dir_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(dir_ / name) << text;
    return (dir_ / name).string();
  }
  std::filesystem::path dir_;
};

constexpr char kConfig[] = R"(
current-context: one
contexts:
- {name: one, context: {cluster: c1, user: u1}}
- {name: two, context: {cluster: c2, user: u2}}
- {name: lost, context: {cluster: nowhere, user: u1}}
- {name: exec, context: {cluster: c1, user: u3}}
clusters:
- name: c1
  cluster: {server: "https://one:6443", certificate-authority-data: aGVsbG8=, tls-server-name: x}
- name: c2
  cluster: {server: "https://two:6443", certificate-authority: ca.pem,
            insecure-skip-tls-verify: true}
users:
- {name: u1, user: {token: t1}}
- {name: u2, user: {client-certificate: crt.pem, client-key-data: a2V5, tokenFile: /var/t}}
- {name: u3, user: {exec: {command: aws}}}
)";

TEST_F(Kubeconfig, TheCurrentContext) {
  const Result<ClientConfig> config = LoadKubeconfig(Write("config", kConfig));
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->server, "https://one:6443");
  EXPECT_EQ(config->ca_pem, "hello");
  EXPECT_EQ(config->token, "t1");
  EXPECT_EQ(config->tls_server_name, "x");
  EXPECT_FALSE(config->insecure);
}

TEST_F(Kubeconfig, ANamedContextWithFilesBesideIt) {
  Write("ca.pem", "CA");
  Write("crt.pem", "CRT");
  const Result<ClientConfig> config = LoadKubeconfig(Write("config", kConfig), "two");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->ca_pem + config->client_cert_pem + config->client_key_pem, "CACRTkey");
  EXPECT_EQ(config->token_file, "/var/t");
  EXPECT_TRUE(config->insecure);
}

TEST_F(Kubeconfig, Refusals) {
  const std::string path = Write("config", kConfig);
  EXPECT_EQ(LoadKubeconfig(path, "none").error().message, "kubeconfig: no context 'none'");
  EXPECT_EQ(LoadKubeconfig(path, "lost").error().message,
            "kubeconfig: the context's cluster is not there");
  EXPECT_NE(LoadKubeconfig(path, "exec").error().message.find("exec credentials"),
            std::string::npos);
  EXPECT_EQ(LoadKubeconfig(path, "two").error().code, ErrorCode::kNotFound) << "no ca.pem";
  for (const char* text : {"", "[", "just text", "7", "[1, 2]", "contexts: 3"}) {
    EXPECT_FALSE(LoadKubeconfig(Write("strange", text))) << text;
  }
  EXPECT_FALSE(LoadKubeconfig((dir_ / "absent").string()));
}

TEST(Lease, SurvivesARoundTrip) {
  Script script;
  LeaseRecord record;
  record.holder = "op-0";
  record.duration_seconds = 5;
  record.acquire_wall_ms = 1'764'000'037'083;
  record.renew_wall_ms = 1'764'000'038'100;
  record.transitions = 3;
  record.resource_version = "17";
  const Result<LeaseRecord> written = ReplaceLease(script, "ns", "lease", record, 100);
  ASSERT_TRUE(written);
  EXPECT_EQ(written->holder, "op-0");
  EXPECT_EQ(written->acquire_wall_ms, record.acquire_wall_ms);
  EXPECT_EQ(written->renew_wall_ms, record.renew_wall_ms);
  EXPECT_EQ(written->transitions, 3);
  EXPECT_EQ(Str(At(script.stored, {"metadata", "resourceVersion"})), "17");
  EXPECT_EQ(Str(At(script.stored, {"spec", "renewTime"})), "2025-11-24T16:00:38.100000Z");
}

TEST(Lease, GivenAwayItHasNoHolder) {
  Script script;
  LeaseRecord record;
  record.duration_seconds = 1;
  ASSERT_TRUE(CreateLease(script, "ns", "lease", record, 100));
  EXPECT_FALSE(script.stored["spec"].contains("holderIdentity"));
  EXPECT_FALSE(script.stored["metadata"].contains("resourceVersion"));
  EXPECT_EQ(ReadLease(script, "ns", "lease", 100)->holder, "");
}

}  // namespace
}  // namespace regroup::kube
