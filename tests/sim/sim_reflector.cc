#include "tests/sim/sim_reflector.h"

#include <algorithm>

namespace regroup::sim {
namespace {

constexpr std::int64_t kListTimeoutMs = 15'000;

}  // namespace

SimReflector::SimReflector(FakeApi* api, FakeWatch* watch, World* world, const MonoMs* awake_at,
                           kube::ResourceType type, kube::ListOptions selector,
                           kube::ReflectorSink sink)
    : api_(api), watch_(watch), world_(world), awake_at_(awake_at), type_(std::move(type)),
      selector_(std::move(selector)), sink_(std::move(sink)) {}

SimReflector::~SimReflector() { *alive_ = false; }

// A step of a stopped process waits until it goes on.
void SimReflector::Later(std::int64_t ms, void (SimReflector::*step)()) {
  const MonoMs at = std::max(world_->Now() + ms, *awake_at_);
  world_->After(at - world_->Now(), [this, alive = alive_, turn = turn_, step] {
    if (!*alive || turn != turn_) return;
    if (*awake_at_ > world_->Now()) return Later(0, step);
    (this->*step)();
  });
}

void SimReflector::Run() {
  ++turn_;
  if (!kube::MustList(state_)) return OpenWatch();
  kube::BeginList(state_, world_->Now());
  NextListPage();
}

void SimReflector::NextListPage() {
  const Result<Json> page =
      api_->List(type_, kube::NextPage(state_, selector_), kListTimeoutMs);
  if (!page) return End(page.error());
  const std::int64_t cost_ms = api_->TakeCost();
  if (!kube::OnListPage(state_, *page)) return Later(cost_ms, &SimReflector::NextListPage);
  const std::uint64_t turn = turn_;
  HandOver();  // which may ask for a new list
  if (turn == turn_) OpenWatch();
}

void SimReflector::OpenWatch() {
  last_event_at_ = world_->Now();
  FakeWatch::Sink sink;
  sink.on_event = [this](const std::string& type, const kube::Object& object) {
    OnEvent(type, object);
  };
  sink.on_end = [this](const std::optional<Error>& error) {
    stream_ = 0;
    End(error);
  };
  stream_ = watch_->Open(type_, kube::BeginWatch(state_, selector_, world_->Now()),
                         std::move(sink));
  Later(kube::kWatchIdleLimitMs, &SimReflector::LookForSilence);
}

void SimReflector::HandOver() {
  kube::ListedSet set = std::move(state_.collected);
  state_.collected = kube::ListedSet{};
  synced_ = true;
  sink_.on_replace(std::move(set));
}

void SimReflector::OnEvent(const std::string& type, const kube::Object& object) {
  last_event_at_ = world_->Now();
  const kube::WatchOutcome outcome = kube::OnWatchEvent(state_, type, object);
  const std::uint64_t turn = turn_;
  if (outcome.replace) HandOver();  // which may ask for a new list
  if (turn != turn_) return;
  if (outcome.event) sink_.on_event(outcome.type, *object);
  if (outcome.failed) End(outcome.failed);
}

void SimReflector::LookForSilence() {
  const std::int64_t silent_ms = world_->Now() - last_event_at_;
  if (silent_ms >= kube::kWatchIdleLimitMs) return End(kube::Silence());
  Later(kube::kWatchIdleLimitMs - silent_ms, &SimReflector::LookForSilence);
}

void SimReflector::End(const std::optional<Error>& error) {
  if (stream_ != 0) watch_->Close(std::exchange(stream_, 0));
  if (error && sink_.on_restart) sink_.on_restart(*error);
  const kube::Restart restart = kube::OnWatchEnd(state_, error, world_->rng().Unit());
  if (restart.relist) state_.initial = true;
  ++turn_;
  Later(std::max<std::int64_t>(restart.wait_ms, 1), &SimReflector::Run);
}

void SimReflector::Relist() {
  kube::BeginAnew(state_);
  End(Error{ErrorCode::kGone, "a new list was asked for", 0, 0});
}

}  // namespace regroup::sim
