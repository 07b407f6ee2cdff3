// The model room: the resource's JSON, validation, parameters, quantities, the catalogue.
#include <gtest/gtest.h>

#include <functional>

#include "operator/model/catalogue.h"
#include "operator/model/group_json.h"
#include "operator/model/parameters.h"
#include "operator/model/validate.h"

namespace regroup::model {
namespace {

Json Object() {
  return *ParseJson(R"({
    "apiVersion": "regroup.dev/v1alpha1", "kind": "ReplicationGroup",
    "metadata": {"namespace": "shop", "name": "web-cache", "uid": "u-1", "resourceVersion": "12",
                 "generation": 3, "finalizers": ["other", "regroup.dev/members"]},
    "spec": {"engine": "redis", "engineVersion": "7.0", "cacheNodeType": "cache.t4g.small",
             "replicasPerNodeGroup": 2, "automaticFailoverEnabled": true}})");
}

NodeGroupRecord FullRecord() {
  NodeGroupRecord record;
  record.epoch = 7;
  record.primary = PrimaryRef{"u-2", "web-cache-002", "run-2", "containerd://c2",
                              "10.0.0.2", "node-2"};
  record.guard_lag_seconds = 3;
  record.lineage = {{"h1", 120}, {"h2", -1}};
  record.write_guard = true;
  record.in_sync = {{"u-1", "run-1"}, {"u-3", "run-3"}};
  record.members = {"u-1", "u-2", "u-3"};
  record.suspects = {"u-1"};
  record.transition = Transition{"0001-7", "u-1", "web-cache-001", "run-1", "containerd://c1",
                                 "u-2", "web-cache-002", "PrimaryProcessDied", Stage::kPromoting,
                                 1'764'000'037'083, 17, 120, true};
  record.last_failover = LastFailover{"0001-6", "web-cache-003", "web-cache-001", "PrimaryDeleted",
                                      1'764'000'000'001, 312, 40, 30, 12, 9, false, true, 2,
                                      1'763'000'000'001};
  record.test_failover = TestFailover{"drill", "completed", "Done.", "web-cache-003", "run-3",
                                      "web-cache-001", "TestFailover", 1'763'999'999'000, 400, 0};
  record.test_failovers = {1'763'999'999'000, 1'763'999'999'500};
  return record;
}

GroupView FullView() {
  GroupView view;
  view.observed_generation = 3;
  view.status = "available";
  view.conditions = {{"Ready", ConditionStatus::kTrue, "AllMembersInSync", "All 3 members serve.",
                      3, 1'764'000'000'000},
                     {"Stalled", ConditionStatus::kFalse, "Progressing", "", 3, 0},
                     {"Available", ConditionStatus::kUnknown, "x", "y", 2, 1'764'000'001'000}};
  view.members = {{"web-cache-001", "u-1", "zone-a", "node-1", "primary", "available", "10.0.0.1"},
                  {"web-cache-002", "u-2", "", "", "", "creating", ""}};
  view.primary_endpoint = "web-cache-primary.shop.svc";
  view.reader_endpoint = "web-cache-reader.shop.svc";
  view.port = 6379;
  view.replicas = 2;
  view.selector = "regroup.dev/group=web-cache";
  view.pending_restart_parameters = {"databases"};
  view.engine_version_actual = "7.0.15";
  return view;
}

TEST(Status, TheRecordSurvivesARoundTrip) {
  Json object = Object();
  object["status"] = RenderStatus(FullView(), FullRecord());
  const Group group = ParseGroup(object);
  EXPECT_TRUE(group.has_record);
  EXPECT_TRUE(group.record == FullRecord()) << object["status"].dump(1);
  EXPECT_TRUE(group.view == FullView()) << object["status"].dump(1);
}

TEST(Status, AnEmptyRecordSurvivesToo) {
  Json object = Object();
  object["status"] = RenderStatus(GroupView{}, NodeGroupRecord{});
  const Group group = ParseGroup(object);
  EXPECT_FALSE(group.has_record);
  EXPECT_TRUE(group.record == NodeGroupRecord{});
}

TEST(Status, EveryStageSurvives) {
  for (const Stage stage : {Stage::kNone, Stage::kReturning, Stage::kPromoting,
                            Stage::kSwitching}) {
    NodeGroupRecord record = FullRecord();
    record.transition->stage = stage;
    Json object = Object();
    object["status"] = RenderStatus(FullView(), record);
    EXPECT_TRUE(ParseGroup(object).record == record) << static_cast<int>(stage);
  }
}

TEST(Status, TheSameValuesGiveTheSameBytes) {
  EXPECT_EQ(RenderStatus(FullView(), FullRecord()).dump(),
            RenderStatus(FullView(), FullRecord()).dump());
}

TEST(ParseGroup, Reads) {
  Json object = Object();
  object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
  object["metadata"]["annotations"][kForgetAnnotation] = "true";
  object["spec"]["placement"] = {{"nodeSelector", {{"disk", "ssd"}}},
                                 {"zoneTopologyKey", "rack"},
                                 {"zoneWaitSeconds", 5},
                                 {"tolerations", {{{"key", "k"}, {"operator", "Exists"},
                                                   {"tolerationSeconds", 3}}}}};
  object["spec"]["failover"] = {{"writeGuard", "Off"}, {"unreachableAfterMilliseconds", 900}};
  object["spec"]["storage"] = {{"size", "2Gi"}};
  object["spec"]["authSecretRef"] = {{"name", "s"}};
  object["spec"]["parameters"] = {{"timeout", 30}, {"activedefrag", true}, {"x", "y"}};
  const Group group = ParseGroup(object);
  EXPECT_TRUE(group.meta.deleting && group.meta.has_finalizer && group.meta.forget_requested);
  EXPECT_EQ(KeyOf(group.meta), "shop/web-cache");
  EXPECT_EQ(group.meta.generation, 3);
  EXPECT_EQ(group.spec.members(), 3);
  EXPECT_EQ(group.spec.placement.node_selector.at("disk"), "ssd");
  EXPECT_EQ(group.spec.placement.zone_topology_key, "rack");
  EXPECT_EQ(group.spec.placement.zone_wait_seconds, 5);
  EXPECT_EQ(group.spec.placement.tolerations.at(0).toleration_seconds, 3);
  EXPECT_EQ(group.spec.failover.write_guard, WriteGuardPolicy::kOff);
  EXPECT_EQ(group.spec.failover.unreachable_after_ms, 900);
  EXPECT_EQ(group.spec.failover.unresponsive_after_ms, 5000);
  EXPECT_EQ(group.spec.storage->size, "2Gi");
  EXPECT_EQ(group.spec.auth_secret_ref->key, "password");
  EXPECT_EQ(group.spec.parameters.at("timeout"), "30");
  EXPECT_EQ(group.spec.parameters.at("activedefrag"), "yes");
}

TEST(ParseGroup, NeverFailsOnAStrangeObject) {
  for (const char* text : {"null", "[]", "7", "{}", R"({"metadata": [], "spec": 3, "status": "x"})",
                           R"({"spec": {"engine": 7, "parameters": [1], "placement": "here"}})",
                           R"({"status": {"nodeGroups": [7], "conditions": {"a": 1}}})",
                           R"({"status": {"nodeGroups": [{"lineage": [3], "inSync": 9,
                               "primary": "x", "transition": [], "nodeGroupMembers": [1]}]}})"}) {
    const Group group = ParseGroup(*ParseJson(text));
    EXPECT_NE(group.spec_error, "") << text;
    EXPECT_FALSE(group.has_record) << text;
  }
}

struct SpecRow {
  const char* name;
  std::function<void(Json& spec)> given;
  std::string error;
};

void CheckSpecs(const std::vector<SpecRow>& rows) {
  for (const SpecRow& row : rows) {
    SCOPED_TRACE(std::string("row: ") + row.name);
    Json object = Object();
    row.given(object["spec"]);
    EXPECT_EQ(ParseGroup(object).spec_error, row.error);
  }
}

TEST(Validation, Shape) {
  CheckSpecs({
      {"right as it is", [](Json&) {}, ""},
      {"an unknown engine", [](Json& s) { s["engine"] = "memcached"; },
       "spec.engine 'memcached' is unknown; use redis or valkey."},
      {"both counts agree", [](Json& s) { s["numCacheClusters"] = 3; }, ""},
      {"the counts contradict", [](Json& s) { s["numCacheClusters"] = 2; },
       "spec.replicasPerNodeGroup and spec.numCacheClusters contradict each other; set one."},
      {"numCacheClusters alone",
       [](Json& s) { s.erase("replicasPerNodeGroup"); s["numCacheClusters"] = 6; }, ""},
      {"six replicas", [](Json& s) { s["replicasPerNodeGroup"] = 6; },
       "spec.replicasPerNodeGroup must be from 0 to 5."},
      {"no replica, by numCacheClusters 0",
       [](Json& s) { s.erase("replicasPerNodeGroup"); s["numCacheClusters"] = 0; },
       "spec.replicasPerNodeGroup must be from 0 to 5."},
      {"node type and resources",
       [](Json& s) { s["resources"] = {{"requests", {{"memory", "1Gi"}}}}; },
       "set exactly one of spec.cacheNodeType and spec.resources."},
      {"neither", [](Json& s) { s.erase("cacheNodeType"); },
       "set exactly one of spec.cacheNodeType and spec.resources."},
      {"a low port", [](Json& s) { s["port"] = 80; }, "spec.port must be from 1024 to 65535."},
      {"a high port", [](Json& s) { s["port"] = 65536; }, "spec.port must be from 1024 to 65535."},
      {"no version", [](Json& s) { s.erase("engineVersion"); },
       "spec.engineVersion must be set, for example \"7.0\"."},
  });
}

TEST(Validation, Availability) {
  CheckSpecs({
      {"failover without a replica", [](Json& s) { s["replicasPerNodeGroup"] = 0; },
       "spec.automaticFailoverEnabled needs a replica: set spec.replicasPerNodeGroup to 1 or "
       "more."},
      {"multi-AZ without a replica",
       [](Json& s) { s["replicasPerNodeGroup"] = 0; s["multiAZEnabled"] = true; },
       "spec.multiAZEnabled needs a replica: set spec.replicasPerNodeGroup to 1 or more."},
      {"multi-AZ without failover",
       [](Json& s) { s["automaticFailoverEnabled"] = false; s["multiAZEnabled"] = true; },
       "spec.multiAZEnabled needs spec.automaticFailoverEnabled: true."},
      {"more zones than members",
       [](Json& s) { s["preferredCacheClusterAZs"] = {"a", "b", "c", "d"}; },
       "spec.preferredCacheClusterAZs names more zones than the group has members."},
      {"a guard lag of 0", [](Json& s) { s["failover"]["writeGuardLagSeconds"] = 0; },
       "spec.failover.writeGuardLagSeconds must be from 1 to 60; set it in that range."},
      {"too eager", [](Json& s) { s["failover"]["unreachableAfterMilliseconds"] = 499; },
       "spec.failover.unreachableAfterMilliseconds must be from 500 to 60000; set it in that "
       "range."},
  });
}

TEST(Validation, TheNameLeavesRoomForSuffixes) {
  Json object = Object();
  object["metadata"]["name"] = std::string(40, 'a');
  EXPECT_EQ(ParseGroup(object).spec_error, "");
  object["metadata"]["name"] = std::string(41, 'a');
  EXPECT_NE(ParseGroup(object).spec_error.find("at most 40 characters"), std::string::npos);
}

TEST(Validation, ChangesOfARunningGroup) {
  struct Row {
    const char* name;
    const char* wanted;
    const char* running;
    int port;
    bool ok;
  };
  for (const Row& row : std::vector<Row>{{"the same", "7.0", "7.0.15", 6379, true},
                                         {"up", "7.2", "7.0.15", 6379, true},
                                         {"a major version up", "8.0", "7.2.4", 6379, true},
                                         {"down", "6.2", "7.0.15", 6379, false},
                                         {"a minor version down", "7.0", "7.2.4", 6379, false},
                                         {"another port", "7.0", "7.0.15", 6380, false},
                                         {"nothing runs yet", "6.2", "", 6380, true}}) {
    SCOPED_TRACE(std::string("row: ") + row.name);
    GroupView running;
    running.engine_version_actual = row.running;
    running.port = 6379;
    GroupSpec wanted;
    wanted.engine_version = row.wanted;
    wanted.port = row.port;
    const Result<void> result = ValidateChange(running, wanted);
    EXPECT_EQ(result.has_value(), row.ok);
    if (!result) {
      EXPECT_EQ(result.error().code, ErrorCode::kInvalid);
    }
  }
}

TEST(Parameters, Rows) {
  struct Row {
    const char* name;
    const char* value;
    const char* error;  // a part of the message; "" where it is right
  };
  for (const Row& row : std::vector<Row>{
           {"maxmemory-policy", "allkeys-lru", ""},
           {"maxmemory-policy", "lru", "must be one of volatile-lru, allkeys-lru"},
           {"maxmemory-samples", "64", ""},
           {"maxmemory-samples", "65", "not a whole number from 1 to 64"},
           {"maxmemory-samples", "0", "not a whole number from 1 to 64"},
           {"maxmemory-samples", "5 ", "not a whole number"},
           {"maxmemory-samples", "", "not a whole number"},
           {"slowlog-log-slower-than", "-1", ""},
           {"slowlog-log-slower-than", "-2", "not a whole number from -1"},
           {"activedefrag", "yes", ""},
           {"activedefrag", "true", "must be yes or no"},
           {"notify-keyspace-events", "KEA", ""},
           {"notify-keyspace-events", "", ""},
           {"notify-keyspace-events", "a\nreplicaof evil 6379", "control characters"},
           {"timeout\nreplicaof", "1", "control characters"},
           {"timeout", "1\r", "control characters"},
           {"no-such-thing", "1", "not a parameter that can be set"},
           {"replicaof", "a 1", "the operator decides who follows whom"},
           {"maxmemory", "1gb", "it follows from spec.cacheNodeType"},
           {"appendonly", "yes", "set spec.storage"},
           {"requirepass", "x", "set spec.authSecretRef"},
           {"hz", "100", "the write guard's timing rests on it"},
           {"repl-timeout", "1", "the operator owns every repl- setting"},
           {"min-replicas-to-write", "0", "the operator owns every min-replicas- setting"},
           {"min-slaves-to-write", "0", "the operator owns every min-slaves- setting"},
           {"slave-priority", "0", "the operator owns every slave- setting"},
           {"replica-priority", "0", "the operator owns every replica- setting"},
           {"tls-port", "1", "the operator owns every tls- setting"},
           {"cluster-enabled", "yes", "the operator owns every cluster- setting"},
           {"enable-debug-command", "yes", "the operator owns every enable- setting"},
           {"include", "/etc/passwd", "configuration files belong to the operator"},
           {"loadmodule", "/x.so", "modules are not supported"}}) {
    SCOPED_TRACE(std::string("row: ") + row.name + " = " + row.value);
    const Result<void> checked = CheckParameter(Engine::kRedis, "7.0", row.name, row.value);
    EXPECT_EQ(checked.has_value(), std::string(row.error).empty());
    if (!checked) {
      EXPECT_NE(checked.error().message.find(row.error), std::string::npos)
          << checked.error().message;
    }
  }
}

TEST(Parameters, ASpecNamesTheFirstWrongOne) {
  Json object = Object();
  object["spec"]["parameters"] = {{"timeout", "x"}};
  EXPECT_EQ(ParseGroup(object).spec_error,
            "spec.parameters['timeout']: 'x' is not a whole number from 0 to 1000000000.");
}

TEST(Parameters, NoneIsBothOwnedAndAllowed) {
  for (const char* name : {"maxmemory-policy", "timeout", "databases", "maxclients",
                           "lua-time-limit", "notify-keyspace-events"}) {
    EXPECT_EQ(OwnedReason(name), "") << name;
    EXPECT_NE(FindParameter(Engine::kValkey, "8.1", name), nullptr) << name;
  }
  EXPECT_EQ(FindParameter(Engine::kRedis, "7.0", "databases")->change,
            ParameterChange::kRequiresRestart);
}

TEST(ConfigLine, Quoting) {
  struct Row {
    std::vector<std::string> words;
    const char* line;
  };
  for (const Row& row : std::vector<Row>{{{"1"}, "k 1\n"},
                                         {{"a", "b"}, "k a b\n"},
                                         {{""}, "k \"\"\n"},
                                         {{"a b"}, "k \"a b\"\n"},
                                         {{"a\"b"}, "k \"a\\\"b\"\n"},
                                         {{"a\\b"}, "k \"a\\\\b\"\n"},
                                         {{"a\nb"}, "k \"a\\x0ab\"\n"},
                                         {{"it's"}, "k \"it's\"\n"},
                                         {{"#x"}, "k \"#x\"\n"},
                                         {{"\xff"}, "k \"\\xff\"\n"}}) {
    EXPECT_EQ(ConfigLine("k", row.words), row.line);
  }
}

TEST(Quantity, Rows) {
  struct Row {
    const char* text;
    std::int64_t value;  // -1: refused
  };
  for (const Row& row : std::vector<Row>{
           {"0", 0}, {"1", 1}, {"1Ki", 1024}, {"1.5Gi", 1'610'612'736}, {"2G", 2'000'000'000},
           {"500m", 1}, {"1e3", 1000}, {"1Mi", 1 << 20}, {"3k", 3000}, {"", -1}, {"Gi", -1},
           {"-1", -1}, {"1gb", -1}, {"1 Gi", -1}, {"inf", -1}, {"nan", -1}, {"1e400", -1},
           {"0x10", -1}, {" 1", -1}, {"9e18Gi", -1}}) {
    const Result<std::int64_t> value = ParseQuantity(row.text);
    EXPECT_EQ(value ? *value : -1, row.value) << "row: '" << row.text << "'";
  }
}

TEST(Quantity, Cpu) {
  struct Row {
    const char* text;
    int milli;
  };
  for (const Row& row : std::vector<Row>{{"1", 1000}, {"500m", 500}, {"0.1", 100}, {"2.5", 2500},
                                         {"", -1}, {"1Gi", -1}, {"-1", -1}, {"nan", -1},
                                         {"1e300", -1}}) {
    const Result<int> value = ParseCpuMilli(row.text);
    EXPECT_EQ(value ? *value : -1, row.milli) << "row: '" << row.text << "'";
  }
}

constexpr char kCatalogue[] = R"({
  "classes": {"cache.t4g.small": {"memory": "1.37Gi", "vcpu": 2, "maxmemoryBytes": 1468006400},
              "cache.own": {"memory": "1000", "vcpu": 1}},
  "images": {"redis": {"7.0": "r.example/redis:7.0", "7.2": "r.example/redis:7.2"},
             "valkey": {"8.1": "r.example/valkey:8.1"}}})";

TEST(Catalogue, Resolves) {
  const Result<Catalogue> catalogue = ParseCatalogue(kCatalogue);
  ASSERT_TRUE(catalogue);
  GroupSpec spec;
  spec.engine_version = "7.0";
  spec.cache_node_type = "cache.t4g.small";
  const Result<Resolved> resolved = Resolve(spec, *catalogue);
  ASSERT_TRUE(resolved);
  EXPECT_EQ(resolved->image, "r.example/redis:7.0");
  EXPECT_EQ(resolved->maxmemory_bytes, 1'468'006'400);
  EXPECT_EQ(resolved->resources.requests.at("cpu"), "200m");
  EXPECT_EQ(resolved->resources.limits.at("memory"), resolved->resources.requests.at("memory"));
  EXPECT_EQ(catalogue->classes.at("cache.own").maxmemory_bytes, 750) << "a quarter is reserved";
}

TEST(Catalogue, Refusals) {
  const Catalogue catalogue = *ParseCatalogue(kCatalogue);
  struct Row {
    const char* name;
    std::function<void(GroupSpec&)> given;
    const char* error;
  };
  for (const Row& row : std::vector<Row>{
           {"unknown version", [](GroupSpec& s) { s.engine_version = "6.0"; },
            "spec.engineVersion '6.0' is not in the image catalogue; it has: 7.0, 7.2."},
           {"the other engine's version",
            [](GroupSpec& s) { s.engine = Engine::kValkey; s.engine_version = "7.0"; },
            "spec.engineVersion '7.0' is not in the image catalogue; it has: 8.1."},
           {"unknown class", [](GroupSpec& s) { s.cache_node_type = "cache.huge"; },
            "spec.cacheNodeType 'cache.huge' is not in the catalogue; it has: cache.own, "
            "cache.t4g.small."},
           {"resources without memory",
            [](GroupSpec& s) { s.cache_node_type = ""; s.resources = Resources{}; },
            "spec.resources needs requests.memory, for example 512Mi."},
           {"resources that are no quantity",
            [](GroupSpec& s) {
              s.cache_node_type = "";
              s.resources = Resources{{{"memory", "much"}}, {}};
            },
            "'much' is no quantity; write for example 512Mi or 2"}}) {
    SCOPED_TRACE(std::string("row: ") + row.name);
    GroupSpec spec;
    spec.engine_version = "7.0";
    spec.cache_node_type = "cache.t4g.small";
    row.given(spec);
    const Result<Resolved> resolved = Resolve(spec, catalogue);
    ASSERT_FALSE(resolved);
    EXPECT_EQ(resolved.error().message, row.error);
  }
}

TEST(Catalogue, StrangeTexts) {
  for (const char* text : {"", "[]", "{}", "7", R"({"images": []})",
                           R"({"classes": {"a": {"memory": 7}}, "images": {"redis": {"7": "x"}}})",
                           R"({"classes": "none", "images": "none"})"}) {
    EXPECT_FALSE(ParseCatalogue(text)) << text;
  }
}

}  // namespace
}  // namespace regroup::model
