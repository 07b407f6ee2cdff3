// One JSON object a line on stderr. Fields carry group, member, epoch and reason, so that the lines
// of one failover can be read as a time line. Never log a password or a Secret's content.
// Thread: any; one line is written with one write(2).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace regroup {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

struct LogField {
  LogField(std::string_view field_key, std::string_view text) : key(field_key), value(text) {}
  LogField(std::string_view field_key, const std::string& text) : key(field_key), value(text) {}
  LogField(std::string_view field_key, const char* text) : key(field_key), value(text) {}
  LogField(std::string_view field_key, std::int64_t number)
      : key(field_key), value(std::to_string(number)), is_number(true) {}
  LogField(std::string_view field_key, int number)
      : LogField(field_key, static_cast<std::int64_t>(number)) {}
  LogField(std::string_view field_key, std::size_t number)
      : LogField(field_key, static_cast<std::int64_t>(number)) {}
  std::string key;
  std::string value;
  bool is_number = false;
};

void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});
void SetLogLevel(LogLevel level);
// "debug", "info", "warn", "error"; false where the text is none of these.
bool SetLogLevel(std::string_view name);

}  // namespace regroup
