#include "operator/redis/commands.h"

namespace regroup::redis {

namespace {

Transaction Begin(const std::string& operator_user) {
  return {{"CLIENT", "KILL", "USER", operator_user, "SKIPME", "yes"}};
}

std::vector<std::string> Feed(const std::string& replication_user, const char* state) {
  return {"ACL", "SETUSER", replication_user, state};
}

void CutApplications(Transaction& transaction) {
  transaction.push_back({"CLIENT", "KILL", "TYPE", "normal", "USER", "default"});
  transaction.push_back({"CLIENT", "KILL", "TYPE", "pubsub", "USER", "default"});
}

}  // namespace

Transaction Fence(const std::string& operator_user, const std::string& replication_user) {
  Transaction transaction = Begin(operator_user);
  transaction.push_back({"REPLICAOF", "127.0.0.1", "1"});
  transaction.push_back(Feed(replication_user, "off"));
  transaction.push_back(
      {"CONFIG", "SET", "replica-serve-stale-data", "no", "repl-timeout", "10"});
  CutApplications(transaction);
  transaction.push_back({"CLIENT", "UNPAUSE"});
  transaction.push_back({"INFO", "replication"});
  return transaction;
}

Transaction Detach(const std::string& operator_user, const std::string& replication_user) {
  Transaction transaction = Begin(operator_user);
  transaction.push_back({"REPLICAOF", "127.0.0.1", "1"});
  transaction.push_back(Feed(replication_user, "off"));
  transaction.push_back({"INFO", "replication"});
  return transaction;
}

Transaction Promote(const std::string& operator_user, const std::string& replication_user) {
  Transaction transaction = Begin(operator_user);
  transaction.push_back(Feed(replication_user, "on"));
  transaction.push_back(
      {"CONFIG", "SET", "min-replicas-to-write", "0", "repl-timeout", "10"});
  transaction.push_back({"REPLICAOF", "NO", "ONE"});
  transaction.push_back({"INFO", "replication"});
  return transaction;
}

Transaction Follow(const std::string& operator_user, const std::string& replication_user,
                   const std::string& host, int port) {
  Transaction transaction = Begin(operator_user);
  transaction.push_back(Feed(replication_user, "off"));
  transaction.push_back({"REPLICAOF", host, std::to_string(port)});
  transaction.push_back({"INFO", "replication"});
  return transaction;
}

Transaction GuardOn(const std::string& operator_user) {
  Transaction transaction = Begin(operator_user);
  transaction.push_back({"CONFIG", "SET", "min-replicas-to-write", "1"});
  transaction.push_back({"INFO", "replication"});
  return transaction;
}

Transaction GuardOff(const std::string& operator_user) {
  Transaction transaction = Begin(operator_user);
  transaction.push_back({"CONFIG", "SET", "min-replicas-to-write", "0"});
  transaction.push_back({"INFO", "replication"});
  return transaction;
}

Transaction Shutdown() { return {{"SHUTDOWN", "NOSAVE", "NOW"}}; }

Transaction Look(const std::string& operator_user) {
  Transaction transaction = Begin(operator_user);
  transaction.push_back({"INFO", "replication"});
  return transaction;
}

Transaction CutClients(const std::string& operator_user) {
  Transaction transaction = Begin(operator_user);
  CutApplications(transaction);
  return transaction;
}

Transaction SetConfig(const std::string& operator_user,
                      const std::map<std::string, std::string>& config) {
  Transaction transaction = Begin(operator_user);
  std::vector<std::string> words{"CONFIG", "SET"};
  for (const auto& [name, value] : config) {
    words.push_back(name);
    words.push_back(value);
  }
  transaction.push_back(std::move(words));
  return transaction;
}

Transaction SetAcl(const std::string& operator_user,
                   const std::vector<std::string>& default_rules) {
  Transaction transaction = Begin(operator_user);
  std::vector<std::string> words{"ACL", "SETUSER", "default"};
  words.insert(words.end(), default_rules.begin(), default_rules.end());
  transaction.push_back(std::move(words));
  return transaction;
}

}  // namespace regroup::redis
