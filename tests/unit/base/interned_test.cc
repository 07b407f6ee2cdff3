// Equal values are held once, for as long as somebody holds them, and never change under a holder.
#include "operator/base/interned.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace regroup {
namespace {

using Map = std::map<std::string, std::string>;
using Words = Interned<Map>;

TEST(Interned, EqualValuesAreHeldOnce) {
  const Words one(Map{{"maxmemory", "1"}});
  const Words same(Map{{"maxmemory", "1"}});
  const Words other(Map{{"maxmemory", "2"}});
  EXPECT_EQ(&*one, &*same);
  EXPECT_TRUE(one == same);
  EXPECT_NE(&*one, &*other);
  EXPECT_FALSE(one == other);
}

TEST(Interned, NothingIsEqualToAnEmptyValue) {
  const Words nothing;
  const Words empty(Map{});
  EXPECT_TRUE(nothing == empty);
  EXPECT_TRUE(nothing->empty());
}

TEST(Interned, AChangeIsSeenByNobodyElse) {
  Words mine(Map{{"maxmemory", "1"}});
  const Words yours = mine;
  mine.Change([](auto& words) { words["maxmemory"] = "3"; });
  EXPECT_EQ(mine->at("maxmemory"), "3");
  EXPECT_EQ(yours->at("maxmemory"), "1");
}

TEST(Interned, AValueOutlivesWhoMadeIt) {
  Words kept;
  {
    const Words made(Map{{"port", "6379"}});
    kept = made;
  }
  EXPECT_EQ(kept->at("port"), "6379");
}

// More values than the pool keeps without looking for those that nobody holds; ASan and TSan
// watch.
TEST(Interned, ManyThreadsMayMakeAndDropValues) {
  const Words held(Map{{"n", "held"}});
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([] {
      for (int i = 0; i < 500; ++i) {
        const Words one(Map{{"n", std::to_string(i)}});
        EXPECT_EQ(one->at("n"), std::to_string(i));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(&*held, &*Words(Map{{"n", "held"}}));
}

}  // namespace
}  // namespace regroup
