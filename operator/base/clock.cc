#include "operator/base/clock.h"

#include <cstdio>
#include <ctime>
#include <string_view>

namespace regroup {
namespace {

std::int64_t ReadMs(clockid_t id) {
  timespec now{};
  clock_gettime(id, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

std::tm ToUtc(WallMs wall_ms) {
  const std::time_t seconds = wall_ms / 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  return utc;
}

}  // namespace

MonoMs SystemClock::Now() const { return ReadMs(CLOCK_BOOTTIME); }
WallMs SystemClock::WallNow() const { return ReadMs(CLOCK_REALTIME); }

std::string FormatRfc3339(WallMs wall_ms) {
  const std::tm utc = ToUtc(wall_ms);
  char text[80];
  std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02dZ", utc.tm_year + 1900,
                utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
  return text;
}

std::string FormatRfc3339Micro(WallMs wall_ms) {
  std::string text = FormatRfc3339(wall_ms);
  char fraction[16];
  std::snprintf(fraction, sizeof fraction, ".%03d000Z", static_cast<int>(wall_ms % 1000));
  text.pop_back();
  return text + fraction;
}

WallMs ParseRfc3339(const std::string& text) {
  static constexpr std::string_view kShape = "dddd-dd-ddTdd:dd:dd";
  if (text.size() <= kShape.size()) return -1;
  int fields[6] = {};
  std::size_t field = 0;
  for (std::size_t i = 0; i < kShape.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (kShape[i] == 'd' ? !digit : text[i] != kShape[i]) return -1;
    if (digit) fields[field] = fields[field] * 10 + (text[i] - '0');
    else ++field;
  }
  std::tm utc{};
  utc.tm_year = fields[0] - 1900;
  utc.tm_mon = fields[1] - 1;
  utc.tm_mday = fields[2];
  utc.tm_hour = fields[3];
  utc.tm_min = fields[4];
  utc.tm_sec = fields[5];
  std::int64_t fraction_ms = 0;
  std::size_t at = kShape.size();
  if (text[at] == '.') {
    std::int64_t scale_ms = 100;
    for (++at; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at, scale_ms /= 10) {
      fraction_ms += (text[at] - '0') * scale_ms;
    }
  }
  if (at >= text.size() || text[at] != 'Z') return -1;
  return static_cast<std::int64_t>(timegm(&utc)) * 1000 + fraction_ms;
}

}  // namespace regroup
