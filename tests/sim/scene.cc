#include "tests/sim/scene.h"

#include "operator/model/group_json.h"

namespace regroup::sim {
namespace {

constexpr std::int64_t kQuietWriteEveryMs = 2000;

ClusterOptions OptionsOf(const model::PlanOptions& plan, Checker* checker) {
  ClusterOptions options;
  options.born_fenced = plan.born_fenced;
  options.following = plan.following;
  options.one_group = plan.one_group;
  options.on_foreign_volume = [checker](const std::string& what) { checker->Fault("S9", what); };
  return options;
}

}  // namespace

Scene::Scene(std::uint64_t seed, const SceneOptions& options)
    : world_(seed, options.print_trace), engines_(&world_, &network_, &history_), server_(&world_),
      checker_(&world_, &network_, &engines_, &server_),
      cluster_(&world_, &network_, &engines_, &server_, OptionsOf(options.plan, &checker_)),
      clients_(&world_, &network_, &engines_, &server_, &checker_) {
  if (options.neighbours && seed % 4 == 0) faults_.others_first = 0.5;
  for (const char* zone : {"a", "b", "c"}) {
    cluster_.AddNode(std::string("node-") + zone, std::string("zone-") + zone);
    clients_.AddNode(std::string("node-") + zone);
  }
  for (const char* host : {"op0", "op1"}) {
    operators_.push_back(std::make_unique<SimOperator>(host, &world_, &network_, &engines_,
                                                       &server_, &checker_, &faults_,
                                                       options.plan, &step_fault_));
  }
}

Json Scene::ReplicasOf(std::int64_t replicas) {
  return Json{{"replicasPerNodeGroup", replicas},
              {"automaticFailoverEnabled", replicas > 0},
              {"multiAZEnabled", replicas > 0}};
}

void Scene::CreateGroup(const Json& more) {
  Json group{{"metadata", {{"name", "web-cache"}, {"finalizers", {model::kFinalizer}}}},
                   {"spec",
                    {{"description", "the simulated group"},
                     {"engine", "redis"},
                     {"engineVersion", "7.0"},
                     {"cacheNodeType", "cache.t4g.small"}}}};
  group["spec"].update(ReplicasOf(2));
  group["spec"].update(more);
  (void)server_.Create(kGroups, "default", group);
}

void Scene::DeleteGroup() {
  (void)server_.Delete(group_ref_, {Stored().meta.uid, ""}, -1);
}

void Scene::PatchSpec(const Json& spec) {
  (void)server_.MergePatch(group_ref_, "", Json{{"spec", spec}});
}

model::Group Scene::Stored() const { return model::ParseGroup(*server_.Find(group_ref_)); }

void Scene::StartOperators() {
  for (auto& one : operators_) one->Start();
}

void Scene::StartClients() {
  ClientsWrite();
  clients_.Start();
}

void Scene::ClientsWrite() {
  for (Engine* engine : Living()) {
    if (engine->Write()) checker_.Count("acknowledged writes");
    else if (engine->is_primary() && !engine->frozen()) ++refused_;
  }
  world_.After(write_every_ms_, [this] { ClientsWrite(); });
}

bool Scene::RunUntil(MonoMs end, const std::function<bool()>& done) {
  while (world_.Now() < end) {
    if (done()) return true;
    if (!world_.RunOne()) return false;
    checker_.AfterEvent();
  }
  return done();
}

void Scene::RunFor(std::int64_t ms) {
  RunUntil(world_.Now() + ms, [] { return false; });
}

std::vector<Engine*> Scene::Living() const {
  std::vector<Engine*> living;
  for (const auto& engine : engines_.all()) {
    if (engine->alive()) living.push_back(engine.get());
  }
  return living;
}

Engine* Scene::Primary() const {
  for (Engine* engine : Living()) {
    if (engine->is_primary()) return engine;
  }
  return nullptr;
}

std::int64_t Scene::ApiWrites() const {
  std::int64_t writes = 0;
  for (const auto& one : operators_) writes += one->api_writes();
  return writes;
}

void Scene::StayQuiet(std::int64_t ms) {
  const std::int64_t pace_ms = std::exchange(write_every_ms_, kQuietWriteEveryMs);
  const std::int64_t before = ApiWrites();
  RunFor(ms);
  const std::int64_t written = ApiWrites() - before;
  if (written > 0) {
    checker_.Fault("quiet", std::to_string(written) + " writes in " + std::to_string(ms) +
                                " ms at rest");
  }
  write_every_ms_ = pace_ms;
}

}  // namespace regroup::sim
