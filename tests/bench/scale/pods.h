// What a kubelet would be told and would tell: the pods of the groups as the API server shows them,
// and the status of a container that was started again.
// Thread: the callbacks run on a thread of this object; Restarted() may be called from any thread.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "operator/base/clock.h"
#include "operator/kube/client.h"
#include "operator/kube/reflector.h"

namespace regroup::bench {

struct PodFacts {
  std::string namespace_name;
  std::string name;
  std::string uid;
  std::string node;
  std::string address;
  int port = 0;
  bool running = false;  // the engine's container has been started
  bool operator==(const PodFacts&) const = default;
};

class Pods {
 public:
  using SeenFn = std::function<void(PodFacts)>;
  using GoneFn = std::function<void(std::string uid)>;

  Pods(kube::Client& client, const Clock& clock, SeenFn seen, GoneFn gone);
  ~Pods();
  // Writes that the engine's container ended and runs again since `started`; `count` starts so far.
  void Restarted(const PodFacts& pod, WallMs started, int count);

 private:
  struct Report {
    PodFacts pod;
    WallMs started = 0;
    int count = 0;
  };
  void Write(const Report& report);
  void WriteAll(const std::stop_token& stop);

  kube::Client& client_;
  std::unique_ptr<kube::Reflector> reflector_;
  std::set<std::string> shown_;  // UIDs; only the reflector's thread
  std::mutex mutex_;
  std::condition_variable_any ready_;
  std::deque<Report> reports_;
  std::vector<std::jthread> threads_;
};

}  // namespace regroup::bench
