// Checks that stay on in release builds: a broken invariant ends the process, because a restart is
// cheap and level-triggered while going on with a wrong picture can cost a data set.
// Thread: any. Source: TigerBeetle's style guide, Redpanda's vassert.
#pragma once

#include <string_view>

namespace regroup {

[[noreturn]] void CheckFailed(std::string_view condition, std::string_view message,
                              std::string_view file, int line);

}  // namespace regroup

#define RG_CHECK(condition, message)                                              \
  do {                                                                            \
    if (!(condition)) ::regroup::CheckFailed(#condition, message, __FILE__, __LINE__); \
  } while (false)
