#include "operator/base/log.h"

#include <unistd.h>

#include <array>
#include <atomic>

#include "operator/base/clock.h"

namespace regroup {
namespace {

std::atomic<LogLevel> g_level{LogLevel::kInfo};

constexpr std::array<std::string_view, 4> kNames{"debug", "info", "warn", "error"};

void AppendQuoted(std::string& line, std::string_view text) {
  line += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      line += '\\';
      line += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      constexpr char kHex[] = "0123456789abcdef";
      line += "\\u00";
      line += kHex[byte >> 4];
      line += kHex[byte & 15];
    } else {
      line += c;
    }
  }
  line += '"';
}

}  // namespace

void SetLogLevel(LogLevel level) { g_level = level; }

bool SetLogLevel(std::string_view name) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) {
      g_level = static_cast<LogLevel>(i);
      return true;
    }
  }
  return false;
}

void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  if (level < g_level.load(std::memory_order_relaxed)) return;
  std::string line = "{\"ts\":";
  AppendQuoted(line, FormatRfc3339Micro(SystemClock().WallNow()));
  line += ",\"level\":";
  AppendQuoted(line, kNames[static_cast<std::size_t>(level)]);
  line += ",\"msg\":";
  AppendQuoted(line, message);
  for (const LogField& field : fields) {
    line += ',';
    AppendQuoted(line, field.key);
    line += ':';
    if (field.is_number) line += field.value;
    else AppendQuoted(line, field.value);
  }
  line += "}\n";
  // A full pipe or a closed stderr must not stop a failover: the line is lost, nothing else.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace regroup
