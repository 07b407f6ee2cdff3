#include "operator/redis/info.h"

#include <charconv>

namespace regroup::redis {

namespace {

constexpr std::size_t kTextMax = 1 << 20;
constexpr std::size_t kReplicasMax = 64;

std::int64_t ToInt(std::string_view text, std::int64_t fallback = 0) {
  std::int64_t value = fallback;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  return result.ec == std::errc() ? value : fallback;
}

// "ip=10.0.0.1,port=6379,state=online,offset=42,lag=0"
std::string_view Part(std::string_view line, std::string_view key) {
  std::size_t at = 0;
  while (at < line.size()) {
    std::size_t end = line.find(',', at);
    if (end == std::string_view::npos) end = line.size();
    const std::string_view part = line.substr(at, end - at);
    if (part.size() > key.size() && part.substr(0, key.size()) == key && part[key.size()] == '=') {
      return part.substr(key.size() + 1);
    }
    at = end + 1;
  }
  return {};
}

InfoReplica ParseReplica(std::string_view value) {
  InfoReplica replica;
  replica.address = std::string(Part(value, "ip"));
  replica.port = static_cast<int>(ToInt(Part(value, "port")));
  replica.online = Part(value, "state") == "online";
  replica.offset = ToInt(Part(value, "offset"));
  replica.lag_seconds = ToInt(Part(value, "lag"), -1);
  return replica;
}

bool StartsWithDigitAfter(std::string_view key, std::string_view prefix) {
  return key.size() > prefix.size() && key.substr(0, prefix.size()) == prefix &&
         key[prefix.size()] >= '0' && key[prefix.size()] <= '9';
}

bool ApplyText(Info& info, std::string_view key, std::string_view value, bool* has_role) {
  if (key == "run_id") info.run_id = std::string(value);
  else if (key == "redis_version" && info.version.empty()) info.version = std::string(value);
  else if (key == "valkey_version") info.version = std::string(value);
  else if (key == "role") {
    info.is_primary = value == "master";
    *has_role = info.is_primary || value == "slave";
  }
  else if (key == "master_replid") info.repl_id = std::string(value);
  else if (key == "master_replid2") info.repl_id2 = std::string(value);
  else if (key == "master_host") info.primary_host = std::string(value);
  else if (key == "master_link_status") info.link_up = value == "up";
  else if (key == "master_sync_in_progress") info.sync_in_progress = value == "1";
  else if (key == "loading") info.loading = value == "1";
  else if (key == "aof_last_write_status") info.disk_failed = value != "ok";
  else return false;
  return true;
}

void ApplyNumber(Info& info, std::string_view key, std::string_view value,
                 std::int64_t* replica_offset) {
  if (key == "uptime_in_seconds") info.uptime_seconds = ToInt(value);
  else if (key == "master_repl_offset") info.offset = ToInt(value);
  else if (key == "slave_repl_offset") *replica_offset = ToInt(value);
  else if (key == "slave_read_repl_offset") info.read_offset = ToInt(value);
  else if (key == "second_repl_offset") info.second_repl_offset = ToInt(value, -1);
  else if (key == "master_port") info.primary_port = static_cast<int>(ToInt(value));
  else if (key == "master_last_io_seconds_ago") info.last_io_seconds = ToInt(value, -1);
  else if (key == "master_link_down_since_seconds") info.link_down_seconds = ToInt(value, -1);
  else if (key == "used_memory") info.used_memory_bytes = ToInt(value);
  else if (key == "min_slaves_good_slaves") {
    info.guard_on = true;
    info.good_replicas = ToInt(value);
  } else if (StartsWithDigitAfter(key, "slave")) {
    if (info.replicas.size() < kReplicasMax) info.replicas.push_back(ParseReplica(value));
  } else if (StartsWithDigitAfter(key, "db")) {
    info.keys += ToInt(Part(value, "keys"));
  }
}

}  // namespace

Result<Info> ParseInfo(std::string_view text) {
  if (text.size() > kTextMax) return Fail(ErrorCode::kInvalid, "INFO reply over 1 MiB");
  Info info;
  bool has_role = false;
  std::int64_t replica_offset = -1;
  std::size_t at = 0;
  while (at < text.size()) {
    std::size_t end = text.find('\n', at);
    if (end == std::string_view::npos) end = text.size();
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    const std::size_t colon = line.find(':');
    if (line.empty() || line.front() == '#' || colon == std::string_view::npos) continue;
    const std::string_view key = line.substr(0, colon);
    const std::string_view value = line.substr(colon + 1);
    if (!ApplyText(info, key, value, &has_role)) ApplyNumber(info, key, value, &replica_offset);
  }
  if (info.run_id.empty() || !has_role) {
    return Fail(ErrorCode::kInvalid, "INFO reply without run_id or role");
  }
  if (!info.is_primary && replica_offset >= 0) info.offset = replica_offset;
  return info;
}

}  // namespace regroup::redis
