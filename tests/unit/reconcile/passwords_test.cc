// Which passwords an operator believes: those that a member was born with, else the Secret's.
#include "operator/reconcile/passwords.h"

#include <gtest/gtest.h>

namespace regroup::reconcile {
namespace {

render::GroupSecrets Passwords(const std::string& word) {
  return word.empty() ? render::GroupSecrets{}
                      : render::GroupSecrets{word + "-o", word + "-w", word + "-r", ""};
}

struct Row {
  const char* name;
  std::string known;
  std::string former;
  std::string stored;
  std::string members;  // were born with these; "": none is seen
  std::string chosen;
  std::string kept;     // in `former` afterwards, the last one
};

TEST(ChoosePasswords, Rows) {
  const std::vector<Row> rows{
      {"a new operator reads the Secret", "", "", "a", "a", "a", ""},
      {"a human changed the Secret: the members' hold", "a", "", "b", "a", "a", ""},
      {"a human deleted it", "a", "", "", "a", "a", ""},
      {"and no member is seen: still known", "a", "", "", "", "a", ""},
      {"made anew by another operator, no member seen: the Secret's, until a member tells", "a", "",
       "b", "", "b", "a"},
      {"a member tells that the former ones are right", "b", "a", "b", "a", "a", "b"},
      {"a member tells that the new ones are right", "b", "a", "b", "b", "b", ""},
      {"members were born with the Secret's, not with what was known", "a", "", "b", "b", "b", "a"},
      {"members were born with neither", "a", "", "b", "c", "a", ""},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    render::GroupSecrets known = Passwords(row.known);
    known.default_password = "of another Secret";
    std::vector<render::GroupSecrets> former;
    if (!row.former.empty()) former.push_back(Passwords(row.former));
    std::set<std::string> marks;
    if (!row.members.empty()) marks.insert(render::PasswordsMark(Passwords(row.members)));
    ChoosePasswords(Passwords(row.stored), marks, known, former);
    EXPECT_TRUE(render::SamePasswords(known, Passwords(row.chosen))) << known.operator_password;
    EXPECT_EQ(known.default_password, "of another Secret");
    EXPECT_EQ(former.empty() ? "" : former.back().operator_password,
              Passwords(row.kept).operator_password);
  }
}

}  // namespace
}  // namespace regroup::reconcile
