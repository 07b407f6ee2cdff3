#include "operator/reconcile/passwords.h"

#include <algorithm>

#include "operator/reconcile/observe.h"
#include "operator/reconcile/reconciler.h"

namespace regroup::reconcile {

namespace {

constexpr std::size_t kMostFormer = 8;

// The marks of the passwords that the group's members were born with.
std::set<std::string> MarksOf(const Caches& caches, const model::GroupMeta& meta) {
  std::set<std::string> marks;
  for (const auto& pod : caches.Pods(model::KeyOf(meta))) {
    if (pod->group_uid == meta.uid && !pod->passwords.empty()) marks.insert(pod->passwords);
  }
  return marks;
}

void Take(render::GroupSecrets secrets, render::GroupSecrets& known,
          std::vector<render::GroupSecrets>& former) {
  secrets.default_password = known.default_password;  // another Secret's
  std::swap(known, secrets);
  if (!secrets.operator_password.empty()) former.push_back(std::move(secrets));
  if (former.size() > kMostFormer) former.erase(former.begin());
}

}  // namespace

void ChoosePasswords(const render::GroupSecrets& stored, const std::set<std::string>& marks,
                     render::GroupSecrets& known, std::vector<render::GroupSecrets>& former) {
  const auto fits = [&marks](const render::GroupSecrets& secrets) {
    return marks.count(render::PasswordsMark(secrets)) > 0;
  };
  if (fits(known)) {
    former.clear();
    return;
  }
  const auto fitting = std::find_if(former.begin(), former.end(), fits);
  if (fitting != former.end()) return Take(*fitting, known, former);
  const bool nothing_known = known.operator_password.empty();
  const bool gone = stored.operator_password.empty();
  if (!nothing_known && (gone || (!marks.empty() && !fits(stored)))) return;
  if (!render::SamePasswords(known, stored)) Take(stored, known, former);
}

void LearnPasswords(const Caches& caches, const model::Group& group, GroupState& state) {
  if (state.secrets_of != group.meta.uid) {
    state.former_secrets.clear();
    state.secrets = {"", "", "", state.secrets.default_password};
    state.secrets_of = group.meta.uid;
  }
  const render::GroupSecrets stored = StoredSecrets(caches, group);
  const bool same = render::SamePasswords(state.secrets, stored);
  if (same && state.former_secrets.empty()) return;  // nearly always
  ChoosePasswords(stored, MarksOf(caches, group.meta), state.secrets, state.former_secrets);
}

}  // namespace regroup::reconcile
