#include "tests/bench/scale/pods.h"

#include <cstdio>
#include <utility>

#include "operator/render/objects.h"
#include "operator/render/observe_objects.h"

namespace regroup::bench {
namespace {

constexpr std::int64_t kTimeoutMs = 10'000;
constexpr int kWriters = 2;
const kube::ResourceType kPodType{"", "v1", "pods", true};

PodFacts FactsOf(const Json& object) {
  PodFacts pod;
  pod.namespace_name = Str(At(object, {"metadata", "namespace"}));
  pod.name = Str(At(object, {"metadata", "name"}));
  pod.uid = Str(At(object, {"metadata", "uid"}));
  pod.node = Str(At(object, {"spec", "nodeName"}));
  pod.address = Str(At(object, {"status", "podIP"}));
  const Json& containers = At(object, {"spec", "containers"});
  if (containers.is_array() && !containers.empty()) {
    const Json& ports = Child(containers.front(), "ports");
    if (ports.is_array() && !ports.empty()) {
      pod.port = static_cast<int>(Int(Child(ports.front(), "containerPort")));
    }
  }
  pod.running = render::ParsePod(object).running;
  return pod;
}

}  // namespace

Pods::Pods(kube::Client& client, const Clock& clock, SeenFn seen, GoneFn gone) : client_(client) {
  kube::ListOptions selector;
  selector.label_selector = std::string(render::kManagedByLabel) + "=" + render::kManagedByValue;
  kube::ReflectorSink sink;
  // After a lost connection everything is listed again, and some pods may be gone by then.
  sink.on_replace = [this, seen, gone](const kube::ListedSet& set) {
    std::set<std::string> gone_uids = std::exchange(shown_, {});
    set.objects.ForEach([&](const Json& object) {
      const PodFacts pod = FactsOf(object);
      gone_uids.erase(pod.uid);
      shown_.insert(pod.uid);
      seen(pod);
    });
    for (const std::string& uid : gone_uids) gone(uid);
  };
  sink.on_event = [this, seen, gone](kube::EventType type, const Json& object) {
    const PodFacts pod = FactsOf(object);
    if (type == kube::EventType::kDeleted) {
      shown_.erase(pod.uid);
      gone(pod.uid);
    } else {
      shown_.insert(pod.uid);
      seen(pod);
    }
  };
  reflector_ = std::make_unique<kube::Reflector>(client, client, clock, 1, kPodType, selector,
                                                 std::move(sink));
  threads_.emplace_back([this](const std::stop_token& stop) { reflector_->Run(stop); });
  for (int i = 0; i < kWriters; ++i) {
    threads_.emplace_back([this](const std::stop_token& stop) { WriteAll(stop); });
  }
}

Pods::~Pods() {
  for (std::jthread& thread : threads_) thread.request_stop();
  threads_.clear();
}

void Pods::Restarted(const PodFacts& pod, WallMs started, int count) {
  std::lock_guard lock(mutex_);
  reports_.push_back({pod, started, count});
  ready_.notify_one();
}

void Pods::WriteAll(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    std::unique_lock lock(mutex_);
    if (!ready_.wait(lock, stop, [this] { return !reports_.empty(); })) return;
    const Report report = std::move(reports_.front());
    reports_.pop_front();
    lock.unlock();
    Write(report);
  }
}

void Pods::Write(const Report& report) {
  const kube::ObjectRef ref{kPodType, report.pod.namespace_name, report.pod.name};
  Result<Json> pod = client_.Get(ref, kTimeoutMs);
  if (!pod || Str(At(*pod, {"metadata", "uid"})) != report.pod.uid) return;
  Json containers = At(*pod, {"status", "containerStatuses"});
  if (!containers.is_array() || containers.empty()) return;
  Json& container = containers.front();
  const Json ended{{"containerID", Str(Child(container, "containerID"))},
                   {"exitCode", 137},
                   {"reason", "Error"},
                   {"startedAt", Str(At(container, {"state", "running", "startedAt"}))},
                   {"finishedAt", FormatRfc3339(report.started)}};
  container["lastState"] = {{"terminated", ended}};
  container["state"] = {{"running", {{"startedAt", FormatRfc3339(report.started)}}}};
  container["containerID"] =
      "containerd://" + report.pod.uid + "-" + std::to_string(report.count);
  container["restartCount"] = report.count;
  const Json patch{{"metadata", {{"uid", report.pod.uid}}},
                   {"status", {{"containerStatuses", containers}}}};
  Result<Json> written = client_.MergePatch(ref, "status", patch, kTimeoutMs);
  if (!written) std::fprintf(stderr, "%s: %s\n", ref.name.c_str(), written.error().message.c_str());
}

}  // namespace regroup::bench
