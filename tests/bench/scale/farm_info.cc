#include "tests/bench/scale/farm_info.h"

#include <algorithm>
#include <set>
#include <string_view>

namespace regroup::bench {
namespace {

// What the model tells by itself, beside all of the sections Replication and Keyspace.
const std::set<std::string, std::less<>> kModelled{"redis_version", "run_id",  "uptime_in_seconds",
                                                   "tcp_port",      "loading", "used_memory"};

std::string Lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

// Calls `use(section, line)` for each line, without its end.
template <typename Use>
void EachLine(std::string_view text, Use use) {
  std::string section;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.substr(0, 2) == "# ") section = Lower(line.substr(2));
    else if (!line.empty()) use(section, line);
  }
}

void Append(std::vector<std::pair<std::string, std::string>>& sections, const std::string& section,
            std::string_view line) {
  if (sections.empty() || sections.back().first != section) sections.emplace_back(section, "");
  sections.back().second.append(line);
  sections.back().second += "\r\n";
}

}  // namespace

InfoText::InfoText(const std::string& recorded) {
  EachLine(recorded, [this](const std::string& section, std::string_view line) {
    const bool backlog = line.substr(0, 13) == "repl_backlog_";
    if ((section == "replication" && !backlog) || section == "keyspace") return;
    if (kModelled.count(line.substr(0, line.find(':'))) == 0) Append(recorded_, section, line);
  });
}

std::string InfoText::Of(const sim::Engine& engine, const std::vector<std::string>& words) const {
  std::vector<std::pair<std::string, std::string>> told;
  EachLine(engine.InfoText(), [&told](const std::string& section, std::string_view line) {
    Append(told, section, line);
  });
  std::set<std::string> wanted;
  for (std::size_t i = 1; i < words.size(); ++i) wanted.insert(Lower(words[i]));
  const auto includes = [&wanted](const std::string& section) {
    return wanted.empty() || wanted.count(section) > 0;
  };
  std::string text;
  for (const auto& [section, lines] : told) {
    if (!includes(section)) continue;
    text += "# " + section + "\r\n" + lines;
    for (const auto& [other, more] : recorded_) text += other == section ? more : "";
  }
  for (const auto& [section, lines] : recorded_) {
    const bool done = std::any_of(told.begin(), told.end(),
                                  [&name = section](const auto& one) { return one.first == name; });
    if (!done && includes(section)) text += "# " + section + "\r\n" + lines;
  }
  return text;
}

}  // namespace regroup::bench
