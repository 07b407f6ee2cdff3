// A model of redis 7.0's replication as values: what PSYNC, REPLICAOF, the write guard and a
// restart do to role, history and data. Compared with the real server in fake_engine_test.cc;
// measured facts carry [M].
// Thread: one. Lifetime: Engines owns every process of a run until its end, dead ones too, because
// scheduled events hold pointers.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "operator/redis/info.h"
#include "tests/sim/world.h"

namespace regroup::sim {

struct EngineConfig {  // what redis.conf says at boot
  bool born_fenced = true;
  std::int64_t min_replicas_to_write = 0;
  std::int64_t min_replicas_max_lag_s = 10;
  std::int64_t repl_timeout_s = 60;
  std::int64_t busy_after_ms = 5000;  // lua-time-limit: from then on a script is told by -BUSY
  std::int64_t loading_ms = 0;        // how long it reads its file, and says -LOADING
  int disk = History::kEmpty;  // what its append-only file holds
};

class Engine;

// Told at the instant at which it happens; the checker listens.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  virtual void OnFullSync(const Engine& replica, int old_head, const Engine& source) = 0;
  virtual void OnPromoted(const Engine& engine) = 0;
  virtual void OnDeath(const Engine& engine) = 0;
  // A replica whose link was up is told to leave its source, and its readers stay (a detach).
  virtual void OnDetached(const Engine&, const Engine&) {}
};

class Engines {
 public:
  Engines(World* world, Network* network, History* history)
      : world_(world), network_(network), history_(history) {}

  // A new process at an address; the former one there must be dead.
  Engine* Start(const std::string& pod_uid, const std::string& name, const std::string& address,
                int port, const std::string& node, const EngineConfig& config);
  // A process of another group, at an address that was ours once. Not one of all().
  void StartStranger(const std::string& address, int port, const std::string& node);
  void EndStranger(const std::string& address);
  bool StrangerAt(const std::string& address) const;
  // False: rule one-group is off, and any group's replication password opens any other's members.
  void SetOwnPasswords(bool on) { own_passwords_ = on; }
  bool own_passwords() const { return own_passwords_; }
  Engine* Alive(const std::string& address, int port) const;
  std::string HostAt(const std::string& address) const;  // where it is, or was last; empty: nowhere
  Engine* AliveOfPod(const std::string& pod_uid) const;
  const std::vector<std::unique_ptr<Engine>>& all() const { return engines_; }
  // An address has a network namespace (its pod exists): a dead process there is *refused*.
  void SetAddressUp(const std::string& address, bool up);
  bool AddressUp(const std::string& address) const { return up_.count(address) > 0; }

  World& world() const { return *world_; }
  Network& network() const { return *network_; }
  History& history() const { return *history_; }
  void AddObserver(EngineObserver* observer) { observers_.push_back(observer); }
  const std::vector<EngineObserver*>& observers() const { return observers_; }

 private:
  World* world_;
  Network* network_;
  History* history_;
  std::vector<std::unique_ptr<Engine>> engines_;
  std::vector<std::unique_ptr<Engine>> strangers_;
  bool own_passwords_ = true;
  std::set<std::string> up_;
  std::vector<EngineObserver*> observers_;
};

class Engine {
 public:
  using Words = std::vector<std::string>;
  enum class Link { kNone, kConnecting, kSyncing, kUp };

  Engine(Engines* engines, std::string pod_uid, std::string name, std::string address, int port,
         std::string node, const EngineConfig& config);

  // --- the process
  void Kill();
  void Freeze();
  void Thaw();
  // A script: it answers nothing, and after a while -BUSY, until it ends or SHUTDOWN NOSAVE comes.
  void RunScript(std::int64_t ms);
  bool busy() const { return busy_ && world().Now() - frozen_since_ >= config_.busy_after_ms; }
  bool in_script() const { return busy_; }
  bool loading() const { return alive_ && world().Now() < loading_until_; }
  MonoMs frozen_since() const { return frozen_since_; }
  bool alive() const { return alive_; }
  bool frozen() const { return frozen_; }
  MonoMs thawed_at() const { return thawed_at_; }
  MonoMs started_at() const { return started_at_; }
  // When it was last told to follow nobody; 0: not since it started.
  MonoMs fenced_at() const { return fenced_at_; }
  bool stranger() const { return stranger_; }
  bool was_primary() const { return was_primary_; }  // some time in its life

  // --- clients
  // True exactly where a SET would be answered +OK at this instant.
  bool AcceptsWrites() const;
  bool Write();  // one SET; false: refused or no answer. While frozen it waits in the buffer.

  // A pooled connection of an application; a kill of clients, or the end of the process, ends it.
  std::uint64_t OpenClient() { return *clients_.insert(next_client_++).first; }
  bool HasClient(std::uint64_t connection) const { return clients_.count(connection) > 0; }

  // --- the operator's connections
  std::uint64_t OpenControl();
  bool HasControl(std::uint64_t connection) const { return controls_.count(connection) > 0; }
  void CloseControl(std::uint64_t connection) { controls_.erase(connection); }
  // Runs the body of a MULTI on that connection; one reply a command.
  std::vector<std::string> Transaction(std::uint64_t connection, const std::vector<Words>& body);
  // Runs it after the delay, once its packets from `from` arrive and the process reads again,
  // unless the connection is killed before.
  void Buffer(std::uint64_t connection, const std::string& from, std::vector<Words> body,
              std::int64_t delay_ms);
  bool Refuses(const std::vector<Words>& body) const;
  static bool IsDetach(const std::vector<Words>& body);

  redis::Info Info() const;
  std::string InfoText() const;         // INFO
  std::string ReplicationText() const;  // INFO replication

  const std::string& pod_uid() const { return pod_uid_; }
  const std::string& name() const { return name_; }
  const std::string& run_id() const { return run_id_; }
  const std::string& address() const { return address_; }
  const std::string& node() const { return node_; }
  int port() const { return port_; }
  void StopFeeding() { feeds_replicas_ = false; }  // as the group's ACL file has it at birth
  bool is_primary() const { return primary_host_.empty(); }
  bool link_up() const { return link_ == Link::kUp; }
  int head() const { return head_; }
  // What a power cut leaves on its disk: the append-only file is synced once a second.
  int synced_head() const { return synced_head_; }
  std::int64_t offset() const { return offset_; }
  const std::string& repl_id() const { return repl_id_; }
  std::int64_t writes() const { return engines_->history().Writes(head_); }
  std::int64_t full_syncs() const { return full_syncs_; }
  std::int64_t partial_syncs() const { return partial_syncs_; }
  std::string Describe() const;

 private:
  friend class Engines;
  struct Attached {  // a replica, seen from its source
    Engine* replica = nullptr;
    bool online = false;
    std::int64_t offset = 0;
    std::int64_t ack_s = 0;
    MonoMs ack_at = 0;
    bool pumping = false;
  };

  World& world() const { return engines_->world(); }
  Attached* Find(const Engine* replica);
  std::int64_t UnixSeconds() const;
  bool Talks(const Engine& other) const;
  std::string Run(std::uint64_t connection, const Words& words);
  std::string ClientKill(std::uint64_t connection, const Words& words);
  std::string ConfigSet(const Words& words);
  void ReplicaOf(const std::string& host, int port);
  void NoOne();
  void DropLink();
  void Connect();
  void Handshake(std::uint64_t link);
  bool CanContinue(const Engine& source) const;
  void PartialSync(Engine* source);
  void FullSync(Engine* source, std::uint64_t link);
  void FinishFullSync(Engine* source, std::uint64_t link, int snapshot, std::int64_t offset);
  void Append(bool is_write, std::int64_t bytes);
  void PumpAll();
  void Pump(Engine* replica);
  void Deliver(Engine* replica);
  void DropReplicas();
  void Detach(Engine* replica);
  void Cron();
  void CronAsReplica();
  void CronAsSource();
  void RefreshGood();
  void StartBacklog();

  Engines* engines_;
  std::string pod_uid_;
  std::string name_;
  std::string address_;
  int port_;
  std::string node_;
  EngineConfig config_;

  std::string run_id_;
  bool alive_ = true;
  bool frozen_ = false;
  bool busy_ = false;
  MonoMs frozen_since_ = 0;
  MonoMs loading_until_ = 0;
  bool stranger_ = false;
  bool was_primary_ = false;
  MonoMs fenced_at_ = 0;
  MonoMs started_at_;
  MonoMs thawed_at_ = 0;
  std::int64_t wall_phase_ms_;  // its second begins elsewhere than others'
  std::int64_t waiting_writes_ = 0;

  bool feeds_replicas_ = true;  // the replication user is on
  std::string primary_host_;  // empty: it is a primary
  int primary_port_ = 0;
  Link link_ = Link::kNone;
  std::uint64_t link_id_ = 0;  // a new number for each attempt: late events of old ones are void
  Engine* source_ = nullptr;
  MonoMs last_io_at_ = 0;
  MonoMs link_down_at_ = 0;
  bool has_cached_ = false;  // a cached master: PSYNC with a history, not with "?"

  std::string repl_id_;
  std::string repl_id2_;
  std::int64_t second_offset_ = -1;
  int head_ = History::kEmpty;
  int synced_head_ = History::kEmpty;
  std::int64_t offset_ = 0;
  bool has_backlog_ = false;
  std::int64_t backlog_first_ = 0;

  std::vector<Attached> replicas_;  // in the order of attachment
  std::int64_t good_replicas_ = 0;

  std::set<std::uint64_t> clients_;
  std::uint64_t next_client_ = 1;
  std::set<std::uint64_t> controls_;
  std::uint64_t next_control_ = 1;
  std::int64_t full_syncs_ = 0;
  std::int64_t partial_syncs_ = 0;
};

}  // namespace regroup::sim
