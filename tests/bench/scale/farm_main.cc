// regroup-farm KUBECONFIG INFO-FILE: runs an engine for each running pod of a group. Commands come
// on standard input, one a line: `kill ADDRESS...`, `count`. Events go to standard output, one JSON
// object a line, with times of CLOCK_BOOTTIME in milliseconds. It ends with its standard input.
#include <sys/resource.h>

#include <cstdio>
#include <iostream>
#include <sstream>

#include <asio.hpp>

#include "operator/base/json.h"
#include "operator/kube/kubeconfig.h"
#include "tests/bench/scale/farm.h"

namespace {

using namespace regroup;

void Print(const Json& line) {
  std::fputs((line.dump() + "\n").c_str(), stdout);
  std::fflush(stdout);
}

// A listening socket and some connections for each engine are more than the usual limit.
void RaiseOpenFiles() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

class Commands {
 public:
  Commands(asio::io_context& io, bench::Farm& farm) : io_(io), farm_(farm), input_(io, 0) {}

  void Read() {
    asio::async_read_until(input_, buffer_, '\n',
                           [this](const asio::error_code& error, std::size_t) {
                             if (error) return io_.stop();
                             std::istream lines(&buffer_);
                             std::string line;
                             std::getline(lines, line);
                             Run(line);
                             Read();
                           });
  }

 private:
  void Run(const std::string& line) {
    std::istringstream words(line);
    std::string verb;
    words >> verb;
    if (verb == "kill") {
      farm_.Kill({std::istream_iterator<std::string>(words), {}});
    } else if (verb == "count") {
      const bench::FarmCounts counts = farm_.Counts();
      Print({{"event", "count"}, {"engines", counts.engines}, {"connections", counts.connections}});
    }
  }

  asio::io_context& io_;
  bench::Farm& farm_;
  asio::posix::stream_descriptor input_;
  asio::streambuf buffer_;
};

int Run(const std::string& kubeconfig, const std::string& info_file) {
  RaiseOpenFiles();
  static SystemClock clock;
  Result<std::string> recorded = kube::ReadFile(info_file);
  Result<kube::ClientConfig> config = kube::LoadKubeconfig(kubeconfig);
  if (!recorded || !config) {
    std::cerr << (recorded ? config.error() : recorded.error()).message << "\n";
    return 1;
  }
  Result<std::unique_ptr<kube::Client>> client = kube::Client::Create(*config, clock);
  if (!client) {
    std::cerr << client.error().message << "\n";
    return 1;
  }
  asio::io_context io{1};
  std::unique_ptr<bench::Pods> pods;
  bench::Farm farm(
      io, clock, *recorded,
      [](const bench::FarmEvent& event) {
        Print({{"event", event.what},
               {"pod", event.pod.namespace_name + "/" + event.pod.name},
               {"address", event.pod.address},
               {"at", event.at}});
      },
      [&pods](const bench::PodFacts& pod, WallMs started, int count) {
        pods->Restarted(pod, started, count);
      });
  Commands commands(io, farm);
  commands.Read();
  const auto seen = [&](const bench::PodFacts& pod) {
    asio::post(io, [&farm, pod] { farm.Seen(pod); });
  };
  const auto gone = [&](const std::string& uid) {
    asio::post(io, [&farm, uid] { farm.Gone(uid); });
  };
  pods = std::make_unique<bench::Pods>(**client, clock, seen, gone);
  io.run();
  pods.reset();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: regroup-farm KUBECONFIG INFO-FILE\n";
    return 2;
  }
  return Run(argv[1], argv[2]);
}
