#include <algorithm>

#include "operator/model/parameters.h"
#include "operator/render/objects.h"

namespace regroup::render {

using model::ConfigLine;

namespace {

constexpr std::int64_t kMiB = 1 << 20;
constexpr int kScriptMsMax = 5000;  // the engine's own default

std::string Number(std::int64_t value) { return std::to_string(value); }

// Born fenced (rule born-fenced): a replica of an address that nobody serves, with or without data.
std::string Fenced() {
  return ConfigLine("replicaof", {"127.0.0.1", "1"}) +
         ConfigLine("replica-serve-stale-data", {"no"}) + ConfigLine("replica-read-only", {"yes"});
}

// The figures on which the write guard's proof rests (rule write-guard).
std::string GuardTiming(const model::GroupSpec& spec) {
  return ConfigLine("hz", {"10"}) + ConfigLine("dynamic-hz", {"no"}) +
         ConfigLine("repl-ping-replica-period", {"1"}) + ConfigLine("repl-timeout", {"10"}) +
         ConfigLine("min-replicas-to-write", {"0"}) +
         ConfigLine("min-replicas-max-lag", {Number(spec.failover.write_guard_lag_seconds)});
}

// A script has to say -BUSY before its silence would count as a hang, also in a process that no
// operator has reached yet.
std::string ScriptLimit(const model::GroupSpec& spec) {
  return Number(std::min(kScriptMsMax, spec.failover.unresponsive_after_ms / 2));
}

std::string Replication(const model::Resolved& resolved) {
  const std::int64_t backlog = std::max<std::int64_t>(64 * kMiB, resolved.maxmemory_bytes / 100);
  const std::int64_t buffer = std::max<std::int64_t>(256 * kMiB, resolved.maxmemory_bytes / 10);
  return ConfigLine("repl-backlog-size", {Number(std::min(backlog, 512 * kMiB))}) +
         ConfigLine("repl-backlog-ttl", {"0"}) + ConfigLine("repl-diskless-sync", {"yes"}) +
         ConfigLine("repl-diskless-sync-delay", {"0"}) +
         ConfigLine("repl-diskless-load", {"disabled"}) +
         ConfigLine("client-output-buffer-limit",
                    {"replica", Number(buffer), Number(buffer), "60"});
}

std::string Persistence(const model::GroupSpec& spec) {
  std::string text = ConfigLine("dir", {"/data"}) + ConfigLine("save", {""});
  if (!spec.storage) {
    // A full sync passes through a file, which a restart would load as if it were the group's data.
    return text + ConfigLine("appendonly", {"no"}) + ConfigLine("rdb-del-sync-files", {"yes"});
  }
  return text + ConfigLine("appendonly", {"yes"}) + ConfigLine("appendfsync", {"everysec"}) +
         ConfigLine("aof-use-rdb-preamble", {"yes"});
}

}  // namespace

std::string RedisConf(const model::Group& group, const model::Resolved& resolved) {
  const model::GroupSpec& spec = group.spec;
  std::string text =
      "# Written by Regroup. The file is read-only; live changes go over CONFIG SET.\n";
  text += ConfigLine("bind", {"*", "-::*"}) + ConfigLine("port", {Number(spec.port)}) +
          ConfigLine("protected-mode", {"no"}) + ConfigLine("tcp-backlog", {"511"}) +
          ConfigLine("daemonize", {"no"}) + ConfigLine("shutdown-timeout", {"0"}) +
          ConfigLine("enable-debug-command", {"no"}) + ConfigLine("enable-module-command", {"no"});
  text += Fenced() + GuardTiming(spec) + Replication(resolved) + Persistence(spec);
  text += ConfigLine("maxmemory", {Number(resolved.maxmemory_bytes)});
  text += ConfigLine("maxmemory-policy", {"volatile-lru"});
  text += ConfigLine("lua-time-limit", {ScriptLimit(spec)});
  // Only what needs a restart stands in the file. The rest is set live, where a value that this
  // build of the engine refuses is an error to read; in the file no new member would start.
  for (const auto& [name, value] : spec.parameters) {
    const model::ParameterRule* rule = model::FindParameter(spec.engine, spec.engine_version, name);
    if (rule != nullptr && rule->change == model::ParameterChange::kRequiresRestart) {
      text += ConfigLine(name, {value});
    }
  }
  text += ConfigLine("aclfile", {"/etc/regroup-secret/users.acl"});
  text += "include /etc/regroup-secret/auth.conf\n";
  return text;
}

std::map<std::string, std::string> BornWith(const model::Group& group,
                                            const model::Resolved& resolved) {
  std::map<std::string, std::string> born{{"engineVersion", resolved.image}};
  for (const auto& [name, quantity] : resolved.resources.requests) {
    born["resources"] += "requests." + name + "=" + quantity + ";";
  }
  for (const auto& [name, quantity] : resolved.resources.limits) {
    born["resources"] += "limits." + name + "=" + quantity + ";";
  }
  for (const auto& [name, value] : group.spec.parameters) {
    const model::ParameterRule* rule =
        model::FindParameter(group.spec.engine, group.spec.engine_version, name);
    if (rule != nullptr && rule->change == model::ParameterChange::kRequiresRestart) {
      born[name] = value;
    }
  }
  return born;
}

std::map<std::string, std::string> LiveParameters(const model::Group& group,
                                                  const model::Resolved& resolved) {
  std::map<std::string, std::string> live;
  live["maxmemory"] = Number(resolved.maxmemory_bytes);
  live["min-replicas-max-lag"] = Number(group.spec.failover.write_guard_lag_seconds);
  live["maxmemory-policy"] = "volatile-lru";
  live["lua-time-limit"] = ScriptLimit(group.spec);
  for (const auto& [name, value] : group.spec.parameters) {
    const model::ParameterRule* rule =
        model::FindParameter(group.spec.engine, group.spec.engine_version, name);
    if (rule != nullptr && rule->change == model::ParameterChange::kImmediate) live[name] = value;
  }
  return live;
}

}  // namespace regroup::render
