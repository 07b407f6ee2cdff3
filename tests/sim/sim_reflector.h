// Production's watching of one resource type, driven in virtual time: what to ask for and what an
// answer means are kube/reflector's steps; this only performs them, as kube::Reflector::Run() does
// with threads.
// Thread: one. Lifetime: `api` and `watch` outlive it.
#pragma once

#include <memory>
#include <optional>

#include "operator/kube/reflector.h"
#include "tests/sim/fake_api.h"
#include "tests/sim/fake_watch.h"

namespace regroup::sim {

class SimReflector {
 public:
  SimReflector(FakeApi* api, FakeWatch* watch, World* world, const MonoMs* awake_at,
               kube::ResourceType type, kube::ListOptions selector, kube::ReflectorSink sink);
  ~SimReflector();
  SimReflector(const SimReflector&) = delete;
  SimReflector& operator=(const SimReflector&) = delete;

  void Start() { Run(); }
  bool Synced() const { return synced_; }
  void Relist();

 private:
  void Later(std::int64_t ms, void (SimReflector::*step)());
  void Run();
  void NextListPage();
  void OpenWatch();
  void HandOver();
  void OnEvent(const std::string& type, const kube::Object& object);
  void LookForSilence();
  void End(const std::optional<Error>& error);

  FakeApi* api_;
  FakeWatch* watch_;
  World* world_;
  const MonoMs* awake_at_;
  const kube::ResourceType type_;
  const kube::ListOptions selector_;
  const kube::ReflectorSink sink_;
  kube::WatchState state_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::uint64_t turn_ = 0;    // late steps of an earlier attempt are void
  std::uint64_t stream_ = 0;  // 0: none is open
  MonoMs last_event_at_ = 0;
  bool synced_ = false;
};

}  // namespace regroup::sim
