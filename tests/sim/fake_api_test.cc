#include "tests/sim/fake_api.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace regroup::sim
