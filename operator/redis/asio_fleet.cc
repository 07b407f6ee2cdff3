#include "operator/redis/asio_fleet.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "operator/redis/member_link.h"

namespace regroup::redis {

namespace {

// Collects the answers of several members for one waiting worker.
template <typename T>
class Gather {
 public:
  explicit Gather(std::size_t count) : results_(count), left_(count) {}

  void Set(std::size_t index, Result<T> result) {
    std::lock_guard lock(mutex_);
    if (results_[index].has_value()) return;
    results_[index] = std::move(result);
    --left_;
    ready_.notify_all();
  }

  std::vector<Result<T>> Wait(std::int64_t timeout_ms) {
    std::unique_lock lock(mutex_);
    ready_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [&] { return left_ == 0; });
    std::vector<Result<T>> out;
    for (auto& result : results_) {
      if (!result) result = Fail(ErrorCode::kDeadlineExceeded, "no answer in time");
      out.push_back(*result);
    }
    return out;
  }

 private:
  std::mutex mutex_;
  std::condition_variable ready_;
  std::vector<std::optional<Result<T>>> results_;
  std::size_t left_;
};

// The worker waits a little longer than the connection's own deadline, which gives the reason.
constexpr std::int64_t kSlackMs = 100;

}  // namespace

struct AsioFleet::Impl : std::enable_shared_from_this<AsioFleet::Impl> {
  struct GroupLinks {
    SharedCredentials credentials;
    Pace pace = Pace::kRest;
    std::map<std::string, std::shared_ptr<MemberLink>> links;
  };

  Impl(asio::io_context& context, const Clock& the_clock, WakeFn wake_fn)
      : io(context), clock(the_clock), wake(std::move(wake_fn)) {}

  std::shared_ptr<MemberLink> Find(const std::string& group, const std::string& uid) {
    const auto found = groups.find(group);
    if (found == groups.end()) return nullptr;
    const auto link = found->second.links.find(uid);
    return link == found->second.links.end() ? nullptr : link->second;
  }

  // A member's facts; nobody reads them where the member is gone by now.
  std::shared_ptr<FactsSlot> SlotOf(const std::string& group, const std::string& uid) {
    std::lock_guard lock(mutex);
    const auto found = facts.find(group);
    if (found != facts.end()) {
      const auto slot = found->second.find(uid);
      if (slot != found->second.end()) return slot->second;
    }
    return std::make_shared<FactsSlot>();
  }

  std::shared_ptr<MemberLink> MakeLink(const std::string& group, const GroupLinks& links,
                                       const Target& target) {
    std::weak_ptr<Impl> weak = weak_from_this();
    MemberLink::Hooks hooks;
    hooks.slot = SlotOf(group, target.uid);
    hooks.fast = fast;
    hooks.wake = [weak, group](bool urgent) {
      if (auto self = weak.lock()) self->wake(group, urgent);
    };
    return std::make_shared<MemberLink>(io, clock, target, links.credentials, links.pace, hooks);
  }

  void Retarget(const std::string& group, const SharedCredentials& credentials,
                const std::vector<Target>& targets) {
    if (stopped) return;
    GroupLinks& links = groups[group];
    const bool same = links.credentials == credentials;
    links.credentials = credentials;
    std::map<std::string, std::shared_ptr<MemberLink>> next;
    for (const Target& target : targets) {
      const auto old = links.links.find(target.uid);
      if (same && old != links.links.end() && old->second->target() == target) {
        next[target.uid] = old->second;
        links.links.erase(old);
        continue;
      }
      next[target.uid] = MakeLink(group, links, target);
      next[target.uid]->Start();
    }
    for (auto& [uid, link] : links.links) link->Stop();
    links.links.swap(next);
    if (links.links.empty()) groups.erase(group);
  }

  asio::io_context& io;
  const Clock& clock;
  WakeFn wake;
  std::map<std::string, GroupLinks> groups;  // the Asio thread only
  bool stopped = false;                      // the Asio thread only
  std::shared_ptr<FastMembers> fast = std::make_shared<FastMembers>();  // the Asio thread only
  std::mutex mutex;
  std::map<std::string, std::map<std::string, std::shared_ptr<FactsSlot>>> facts;
  std::map<std::string, std::vector<Target>> targets_set;
  std::map<std::string, SharedCredentials> credentials_set;
  std::map<std::string, Pace> pace_set;
};

AsioFleet::AsioFleet(asio::io_context& io, const Clock& clock, WakeFn wake, std::uint64_t)
    : impl_(std::make_shared<Impl>(io, clock, std::move(wake))) {}

AsioFleet::~AsioFleet() = default;

void AsioFleet::Stop() {
  asio::post(impl_->io, [impl = impl_] {
    impl->stopped = true;
    for (auto& [group, links] : impl->groups) {
      for (auto& [uid, link] : links.links) link->Stop();
    }
    impl->groups.clear();
  });
}

void AsioFleet::SetTargets(const std::string& group, const Credentials& credentials,
                           const std::vector<Target>& targets) {
  SharedCredentials shared;
  {
    std::lock_guard lock(impl_->mutex);
    const SharedCredentials& known = impl_->credentials_set[group];
    const bool same_credentials = known != nullptr && *known == credentials;
    if (same_credentials && impl_->targets_set[group] == targets) return;
    shared = same_credentials ? known : std::make_shared<const Credentials>(credentials);
    const std::vector<Target> old = impl_->targets_set[group];
    impl_->targets_set[group] = targets;
    impl_->credentials_set[group] = shared;
    std::map<std::string, std::shared_ptr<FactsSlot>> next;
    for (const Target& target : targets) {  // a new link begins without knowing anything
      const bool same =
          same_credentials && std::find(old.begin(), old.end(), target) != old.end();
      next[target.uid] = same ? impl_->facts[group][target.uid] : std::make_shared<FactsSlot>();
    }
    impl_->facts[group].swap(next);
    if (targets.empty()) {
      impl_->facts.erase(group);
      impl_->targets_set.erase(group);
      impl_->credentials_set.erase(group);
      impl_->pace_set.erase(group);
    }
  }
  asio::post(impl_->io, [impl = impl_, group, shared, targets] {
    impl->Retarget(group, shared, targets);
  });
}

void AsioFleet::SetPace(const std::string& group, Pace pace) {
  {
    std::lock_guard lock(impl_->mutex);
    const auto found = impl_->pace_set.find(group);
    if (found != impl_->pace_set.end() && found->second == pace) return;
    impl_->pace_set[group] = pace;
  }
  asio::post(impl_->io, [impl = impl_, group, pace] {
    const auto found = impl->groups.find(group);
    if (found == impl->groups.end()) return;
    found->second.pace = pace;
    for (auto& [uid, link] : found->second.links) link->SetPace(pace);
  });
}

void AsioFleet::Poke(const std::string& group) {
  asio::post(impl_->io, [impl = impl_, group] {
    const auto found = impl->groups.find(group);
    if (found == impl->groups.end()) return;
    for (auto& [uid, link] : found->second.links) link->Poke();
  });
}

std::map<std::string, MemberFacts> AsioFleet::Facts(const std::string& group) const {
  std::lock_guard lock(impl_->mutex);
  std::map<std::string, MemberFacts> out;
  const auto found = impl_->facts.find(group);
  if (found == impl_->facts.end()) return out;
  for (const auto& [uid, slot] : found->second) {
    std::lock_guard slot_lock(slot->mutex);
    out.emplace(uid, slot->facts);
  }
  return out;
}

std::vector<Result<Session>> AsioFleet::Prepare(const std::string& group,
                                                const std::vector<std::string>& uids,
                                                std::int64_t timeout_ms) {
  auto gather = std::make_shared<Gather<Session>>(uids.size());
  asio::post(impl_->io, [impl = impl_, group, uids, timeout_ms, gather] {
    for (std::size_t i = 0; i < uids.size(); ++i) {
      const std::shared_ptr<MemberLink> link = impl->Find(group, uids[i]);
      if (!link) {
        gather->Set(i, Fail(ErrorCode::kUnavailable, "no such member"));
        continue;
      }
      link->Prepare(timeout_ms, [gather, i](Result<Session> session) {
        gather->Set(i, std::move(session));
      });
    }
  });
  return gather->Wait(timeout_ms + kSlackMs);
}

std::vector<Result<CommandReply>> AsioFleet::Execute(const std::string& group,
                                                     const std::vector<Command>& commands,
                                                     std::int64_t timeout_ms) {
  auto gather = std::make_shared<Gather<CommandReply>>(commands.size());
  asio::post(impl_->io, [impl = impl_, group, commands, timeout_ms, gather] {
    for (std::size_t i = 0; i < commands.size(); ++i) {
      const std::shared_ptr<MemberLink> link = impl->Find(group, commands[i].session.uid);
      if (!link) {
        gather->Set(i, Fail(ErrorCode::kConflict, "no such member"));
        continue;
      }
      link->Execute(commands[i], timeout_ms, [gather, i](Result<CommandReply> reply) {
        gather->Set(i, std::move(reply));
      });
    }
  });
  return gather->Wait(timeout_ms + kSlackMs);
}

void AsioFleet::DropControl() {
  asio::post(impl_->io, [impl = impl_] {
    for (auto& [group, links] : impl->groups) {
      for (auto& [uid, link] : links.links) link->DropControl();
    }
  });
}

}  // namespace regroup::redis
