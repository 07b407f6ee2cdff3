#include "operator/render/acl.h"

#include <openssl/sha.h>

namespace regroup::render {

namespace {

std::string Hashed(const std::string& password) { return "#" + Sha256Hex(password); }

std::string Line(const std::string& user, const std::vector<std::string>& rules) {
  std::string line = "user " + user;
  for (const std::string& rule : rules) {
    if (rule != "reset") line += " " + rule;
  }
  return line + "\n";
}

}  // namespace

std::string Sha256Hex(const std::string& text) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (const unsigned char byte : digest) {
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
  }
  return out;
}

// Exactly the commands that ElastiCache restricts; everything else stays allowed.
std::vector<std::string> DefaultUserRules(model::Engine, const GroupSecrets& secrets) {
  std::vector<std::string> rules{"reset", "on"};
  rules.push_back(secrets.default_password.empty() ? "nopass" : Hashed(secrets.default_password));
  for (const char* rule :
       {"~*", "&*", "+@all", "-acl|setuser", "-acl|load", "-acl|save", "-acl|deluser",
        "-bgrewriteaof", "-bgsave", "-save", "-config", "-debug", "-migrate", "-psync", "-sync",
        "-replicaof", "-slaveof", "-shutdown", "-cluster|addslots", "-cluster|addslotsrange",
        "-cluster|delslots", "-cluster|delslotsrange", "-cluster|bumpepoch", "-cluster|failover",
        "-cluster|flushslots", "-cluster|forget", "-cluster|links", "-cluster|meet",
        "-cluster|setslot"}) {
    rules.emplace_back(rule);
  }
  return rules;
}

std::vector<std::string> OperatorUserRules(const GroupSecrets& secrets) {
  return {"reset", "on", Hashed(secrets.operator_password), "-@all", "+auth", "+ping", "+info",
          "+multi", "+exec", "+discard", "+client|kill", "+client|unpause", "+replicaof",
          "+slaveof", "+config|set", "+config|get", "+acl|setuser", "+shutdown"};
}

std::vector<std::string> WatchUserRules(const GroupSecrets& secrets) {
  return {"reset", "on", Hashed(secrets.watch_password), "-@all", "+auth", "+ping", "+info"};
}

std::vector<std::string> ReplicationUserRules(const GroupSecrets& secrets) {
  // Off at birth: only a promoted member feeds replicas (redis/commands.h).
  return {"reset", "off", Hashed(secrets.replication_password), "-@all", "+auth", "+ping",
          "+replconf", "+psync"};
}

std::string AclFile(model::Engine engine, const GroupSecrets& secrets) {
  return Line("default", DefaultUserRules(engine, secrets)) +
         Line(kOperatorUser, OperatorUserRules(secrets)) +
         Line(kWatchUser, WatchUserRules(secrets)) +
         Line(kReplicationUser, ReplicationUserRules(secrets));
}

}  // namespace regroup::render
