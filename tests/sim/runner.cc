#include "tests/sim/runner.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "operator/base/clock.h"
#include "operator/base/json.h"

namespace regroup::sim {
namespace {

Json ToJson(std::uint64_t seed, const SeedResult& result) {
  Json violations = Json::array();
  for (const Violation& violation : result.violations) {
    violations.push_back({violation.rule, violation.text, violation.at});
  }
  return Json{{"seed", seed},
              {"violations", violations},
              {"failovers", result.failovers},
              {"flags", {result.came_up, result.served, result.whole, result.needs_human}},
              {"served_after_ms", result.served_after_ms},
              {"events", result.events},
              {"trace_hash", result.trace_hash},
              {"virtual_ms", result.virtual_ms},
              {"counters", result.counters},
              {"picture", result.violations.empty() ? "" : result.picture}};
}

SeedResult FromJson(const Json& json) {
  SeedResult result;
  for (const Json& violation : json.at("violations")) {
    result.violations.push_back({violation[0], violation[1], violation[2]});
  }
  result.failovers = json.at("failovers");
  result.came_up = json.at("flags")[0];
  result.served = json.at("flags")[1];
  result.needs_human = json.at("flags")[3];
  result.whole = json.at("flags")[2];
  result.served_after_ms = json.at("served_after_ms");
  result.events = json.at("events");
  result.trace_hash = json.at("trace_hash");
  result.virtual_ms = json.at("virtual_ms");
  result.counters = json.at("counters").get<std::map<std::string, std::int64_t>>();
  result.picture = json.at("picture");
  return result;
}

void WriteAll(int fd, const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = write(fd, text.data() + done, text.size() - done);
    if (n <= 0) _exit(3);
    done += static_cast<std::size_t>(n);
  }
}

// A forked process that answers each seed by one line.
struct Worker {
  pid_t pid = -1;
  int to = -1;
  int from = -1;
  std::string buffer;
  bool busy = false;
};

[[noreturn]] void Serve(const Campaign& campaign, int in, int out) {
  std::uint64_t seed = 0;
  while (read(in, &seed, sizeof seed) == static_cast<ssize_t>(sizeof seed)) {
    WriteAll(out, ToJson(seed, campaign.run(seed)).dump() + "\n");
  }
  _exit(0);
}

Worker Start(const Campaign& campaign, const std::vector<Worker>& others) {
  int to[2];
  int from[2];
  Worker worker;
  if (pipe(to) != 0 || pipe(from) != 0) return worker;
  worker.pid = fork();
  if (worker.pid == 0) {
    close(to[1]);
    close(from[0]);
    for (const Worker& other : others) {
      close(other.to);
      close(other.from);
    }
    Serve(campaign, to[0], from[1]);
  }
  close(to[0]);
  close(from[1]);
  worker.to = to[1];
  worker.from = from[0];
  return worker;
}

class Pool {
 public:
  explicit Pool(const Campaign& campaign) : campaign_(campaign), next_(campaign.first) {
    for (int i = 0; i < campaign.jobs; ++i) workers_.push_back(Start(campaign, workers_));
    begin_ = clock_.Now();
  }
  ~Pool() {
    for (Worker& worker : workers_) {
      close(worker.to);
      close(worker.from);
      waitpid(worker.pid, nullptr, 0);
    }
  }

  Totals Run() {
    for (Worker& worker : workers_) Feed(worker);
    while (Busy()) Collect();
    return totals_;
  }

 private:
  bool Busy() const {
    for (const Worker& worker : workers_) {
      if (worker.busy) return true;
    }
    return false;
  }
  bool MayBegin() const {
    const bool in_time = campaign_.milliseconds == 0 ||
                         clock_.Now() - begin_ < campaign_.milliseconds;
    const bool few = campaign_.violating_max == 0 || totals_.violating < campaign_.violating_max;
    return next_ <= campaign_.last && in_time && few && !totals_.worker_died;
  }
  void Feed(Worker& worker) {
    worker.busy = MayBegin() && write(worker.to, &next_, sizeof next_) ==
                                    static_cast<ssize_t>(sizeof next_);
    if (worker.busy) ++next_;
  }
  void Collect() {
    std::vector<pollfd> waiting;
    for (const Worker& worker : workers_) {
      waiting.push_back({worker.busy ? worker.from : -1, POLLIN, 0});
    }
    if (poll(waiting.data(), waiting.size(), -1) <= 0) return;
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      if (waiting[i].revents != 0) Read(workers_[i]);
    }
    // In the order of seeds, whoever was first.
    for (auto it = results_.find(due_ + campaign_.first); it != results_.end();
         it = results_.find(due_ + campaign_.first)) {
      totals_.Add(it->second);
      if (campaign_.report) campaign_.report(it->first, it->second);
      results_.erase(it);
      ++due_;
    }
  }
  void Read(Worker& worker) {
    char block[65536];
    const ssize_t n = read(worker.from, block, sizeof block);
    if (n <= 0) {
      totals_.worker_died = true;
      worker.busy = false;
      return;
    }
    worker.buffer.append(block, static_cast<std::size_t>(n));
    const std::size_t end = worker.buffer.find('\n');
    if (end == std::string::npos) return;
    const Json json = Json::parse(worker.buffer.substr(0, end));
    worker.buffer.erase(0, end + 1);
    results_.emplace(json.at("seed").get<std::uint64_t>(), FromJson(json));
    Feed(worker);
  }

  const Campaign& campaign_;
  SystemClock clock_;
  MonoMs begin_ = 0;
  std::vector<Worker> workers_;
  std::uint64_t next_;
  std::uint64_t due_ = 0;  // how many have been put together
  std::map<std::uint64_t, SeedResult> results_;
  Totals totals_;
};

}  // namespace

void Totals::Add(const SeedResult& result) {
  ++schedules;
  with_failover += result.failovers > 0 ? 1 : 0;
  failovers += result.failovers;
  events += result.events;
  hash = (hash ^ result.trace_hash) * 0x100000001b3ULL;
  virtual_ms += result.virtual_ms;
  violating += result.violations.empty() ? 0 : 1;
  need_human += result.needs_human ? 1 : 0;
  unserved += result.served || result.needs_human ? 0 : 1;
  unwhole += result.whole || result.needs_human ? 0 : 1;
  served_ms_worst = std::max(served_ms_worst, result.served_after_ms);
  for (const auto& [what, count] : result.counters) counters[what] += count;
  for (const Violation& violation : result.violations) ++rules[violation.rule];
}

Totals RunCampaign(const Campaign& campaign) {
  if (campaign.jobs > 1) return Pool(campaign).Run();
  const SystemClock clock;
  const MonoMs begin = clock.Now();
  Totals totals;
  for (std::uint64_t seed = campaign.first; seed <= campaign.last; ++seed) {
    if (campaign.milliseconds > 0 && clock.Now() - begin >= campaign.milliseconds) break;
    if (campaign.violating_max > 0 && totals.violating >= campaign.violating_max) break;
    const SeedResult result = campaign.run(seed);
    totals.Add(result);
    if (campaign.report) campaign.report(seed, result);
  }
  return totals;
}

}  // namespace regroup::sim
