#include "operator/model/parameters.h"

#include <charconv>

#include "operator/model/catalogue.h"

namespace regroup::model {

namespace {

using Type = ParameterRule::Type;

ParameterRule Integer(const char* name, std::int64_t min, std::int64_t max,
                      ParameterChange change = ParameterChange::kImmediate) {
  ParameterRule rule;
  rule.name = name;
  rule.type = Type::kInteger;
  rule.min = min;
  rule.max = max;
  rule.change = change;
  return rule;
}

ParameterRule YesNo(const char* name) {
  ParameterRule rule;
  rule.name = name;
  rule.type = Type::kBool;
  return rule;
}

ParameterRule OneOf(const char* name, std::vector<std::string> values) {
  ParameterRule rule;
  rule.name = name;
  rule.type = Type::kEnum;
  rule.values = std::move(values);
  return rule;
}

constexpr std::int64_t kBig = 1'000'000'000;
constexpr char kEventClasses[] = "AKEg$lshzxetdmn";

const std::vector<ParameterRule>& Rules() {
  static const std::vector<ParameterRule> kRules = [] {
    std::vector<ParameterRule> rules{
        OneOf("maxmemory-policy", {"volatile-lru", "allkeys-lru", "volatile-lfu", "allkeys-lfu",
                                   "volatile-random", "allkeys-random", "volatile-ttl",
                                   "noeviction"}),
        Integer("maxmemory-samples", 1, 64),
        Integer("maxmemory-eviction-tenacity", 0, 100),
        Integer("timeout", 0, kBig),
        Integer("tcp-keepalive", 0, kBig),
        Integer("databases", 1, 10'000, ParameterChange::kRequiresRestart),
        Integer("slowlog-log-slower-than", -1, kBig),
        Integer("slowlog-max-len", 0, kBig),
        Integer("latency-monitor-threshold", 0, kBig),
        Integer("hash-max-listpack-entries", 0, kBig),
        Integer("hash-max-listpack-value", 0, kBig),
        Integer("list-max-listpack-size", -5, kBig),
        Integer("list-compress-depth", 0, kBig),
        Integer("set-max-intset-entries", 0, kBig),
        Integer("zset-max-listpack-entries", 0, kBig),
        Integer("zset-max-listpack-value", 0, kBig),
        Integer("hll-sparse-max-bytes", 1, 16'000),
        Integer("stream-node-max-bytes", 0, kBig),
        Integer("stream-node-max-entries", 0, kBig),
        Integer("active-expire-effort", 1, 10),
        Integer("active-defrag-cycle-min", 1, 75),
        Integer("active-defrag-cycle-max", 1, 75),
        Integer("lfu-log-factor", 0, kBig),
        Integer("lfu-decay-time", 0, kBig),
        Integer("maxclients", 1, 65'000),
        Integer("lua-time-limit", 1, 5000),
        YesNo("activerehashing"),
        YesNo("activedefrag"),
        YesNo("lazyfree-lazy-eviction"),
        YesNo("lazyfree-lazy-expire"),
        YesNo("lazyfree-lazy-server-del"),
        YesNo("lazyfree-lazy-user-del"),
        YesNo("lazyfree-lazy-user-flush"),
    };
    ParameterRule notify;
    notify.name = "notify-keyspace-events";
    notify.type = Type::kText;
    rules.push_back(notify);
    return rules;
  }();
  return kRules;
}

bool IsInteger(const std::string& text, std::int64_t* value) {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), *value);
  return result.ec == std::errc() && result.ptr == text.data() + text.size();
}

bool NeedsQuotes(const std::string& word) {
  if (word.empty()) return true;
  for (const char c : word) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= ' ' || byte >= 0x7F || c == '"' || c == '\'' || c == '\\' || c == '#') return true;
  }
  return false;
}

std::string Quote(const std::string& word) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : word) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < ' ' || byte >= 0x7F) {
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace

const ParameterRule* FindParameter(Engine, const std::string&, const std::string& name) {
  for (const ParameterRule& rule : Rules()) {
    if (rule.name == name) return &rule;
  }
  return nullptr;
}

std::string OwnedReason(const std::string& name) {
  static const std::map<std::string, std::string> kOwned{
      {"replicaof", "the operator decides who follows whom"},
      {"slaveof", "the operator decides who follows whom"},
      {"masterauth", "replication credentials are generated for each group"},
      {"masteruser", "replication credentials are generated for each group"},
      {"requirepass", "set spec.authSecretRef to give the default user a password"},
      {"aclfile", "users are managed by the operator"},
      {"user", "users are managed by the operator"},
      {"port", "set spec.port"},
      {"bind", "a member must be reachable by its pod address"},
      {"protected-mode", "a member must be reachable by its pod address"},
      {"dir", "the data directory belongs to the operator"},
      {"dbfilename", "the data directory belongs to the operator"},
      {"appendonly", "set spec.storage to keep data on disk"},
      {"appendfsync", "set by the operator with spec.storage"},
      {"save", "set spec.storage to keep data on disk"},
      {"maxmemory", "it follows from spec.cacheNodeType or spec.resources"},
      {"include", "configuration files belong to the operator"},
      {"loadmodule", "modules are not supported"},
      {"rename-command", "commands are limited by the default user's rules"},
      {"hz", "the write guard's timing rests on it"},
      {"dynamic-hz", "the write guard's timing rests on it"},
      {"shutdown-timeout", "a failover must not wait for replicas"},
      {"daemonize", "the engine is the container's process"},
      {"supervised", "the engine is the container's process"},
      {"logfile", "logs go to the container's output"},
      {"pidfile", "the engine is the container's process"}};
  const auto found = kOwned.find(name);
  if (found != kOwned.end()) return found->second;
  for (const char* prefix : {"repl-", "replica-", "slave-", "min-replicas-", "min-slaves-", "tls-",
                             "cluster-", "enable-", "unixsocket"}) {
    if (name.rfind(prefix, 0) == 0) {
      return "the operator owns every " + std::string(prefix) + " setting";
    }
  }
  return "";
}

Result<void> CheckParameter(Engine engine, const std::string& version, const std::string& name,
                            const std::string& value) {
  const std::string where = "spec.parameters['" + name + "']: ";
  for (const char c : name + value) {
    if (static_cast<unsigned char>(c) < ' ' || static_cast<unsigned char>(c) == 0x7F) {
      return Fail(ErrorCode::kInvalid, where + "control characters such as a newline are not "
                  "allowed; remove them.");
    }
  }
  const std::string owned = OwnedReason(name);
  if (!owned.empty()) {
    return Fail(ErrorCode::kInvalid, where + "owned by the operator: " + owned + "; remove it.");
  }
  const ParameterRule* rule = FindParameter(engine, version, name);
  if (rule == nullptr) {
    return Fail(ErrorCode::kInvalid, where + "not a parameter that can be set; remove it or see "
                "docs/parameters.md for the list.");
  }
  std::int64_t number = 0;
  switch (rule->type) {
    case Type::kInteger:
      if (!IsInteger(value, &number) || number < rule->min || number > rule->max) {
        return Fail(ErrorCode::kInvalid, where + "'" + value + "' is not a whole number from " +
                    std::to_string(rule->min) + " to " + std::to_string(rule->max) + ".");
      }
      break;
    case Type::kBool:
      if (value != "yes" && value != "no") {
        return Fail(ErrorCode::kInvalid, where + "'" + value + "' must be yes or no.");
      }
      break;
    case Type::kEnum: {
      std::string known;
      for (const std::string& choice : rule->values) {
        if (choice == value) return {};
        known += (known.empty() ? "" : ", ") + choice;
      }
      return Fail(ErrorCode::kInvalid, where + "'" + value + "' must be one of " + known + ".");
    }
    case Type::kMemory:
      if (!ParseQuantity(value)) {
        return Fail(ErrorCode::kInvalid, where + "'" + value + "' is no size.");
      }
      break;
    case Type::kText:
      // The one text, notify-keyspace-events: the engine does not start with an unknown letter.
      if (value.size() > 64 || value.find_first_not_of(kEventClasses) != std::string::npos) {
        return Fail(ErrorCode::kInvalid, where + "'" + value + "' may hold only the letters of " +
                    kEventClasses + ", for example Ex; remove the others.");
      }
      break;
  }
  return {};
}

std::string ConfigLine(const std::string& name, const std::vector<std::string>& words) {
  std::string line = name;
  for (const std::string& word : words) {
    line += ' ';
    line += NeedsQuotes(word) ? Quote(word) : word;
  }
  return line + "\n";
}

}  // namespace regroup::model
