#include "ranks.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "check.h"
#include "model_files.h"

namespace check {
namespace {

// Set in a rank's process, to the folder that the ranks of a case share.
constexpr const char* kChild = "CREAM_CHECK_RANK";

pid_t start(const std::string& name, int rank, int ranks, const std::string& port,
            const std::string& folder, const std::string& output) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  const int file = open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  dup2(file, 1);
  dup2(file, 2);
  setenv(kChild, folder.c_str(), 1);
  setenv("RANK", std::to_string(rank).c_str(), 1);
  setenv("LOCAL_RANK", std::to_string(rank).c_str(), 1);
  setenv("WORLD_SIZE", std::to_string(ranks).c_str(), 1);
  setenv("LOCAL_WORLD_SIZE", std::to_string(ranks).c_str(), 1);
  setenv("MASTER_ADDR", "127.0.0.1", 1);
  setenv("MASTER_PORT", port.c_str(), 1);
  setenv("OMP_NUM_THREADS", "1", 1);
  execl("/proc/self/exe", "cream_check", name.c_str(), nullptr);
  _exit(127);
}

bool in_child() { return std::getenv(kChild) != nullptr; }

void run_child(const std::function<void(cream::Ranks&)>& body) {
  cream::RankTimes times;
  times.beat = std::chrono::milliseconds(250);
  const auto ranks = cream::join_ranks(cream::rank_environment(), times);
  cream::set_current_ranks(ranks);
  body(*ranks);
  const auto wait_for_all = [&](const char* name) {
    while (ranks->add(name, 0) < ranks->place().size) usleep(1000);
  };
  // A rank that closed its connections would disturb one that is still in the last operation.
  ranks->add("done", 1);
  wait_for_all("done");
  // The store of rank 0 must outlive the others' last question to it.
  ranks->add("left", 1);
  if (ranks->place().rank == 0) wait_for_all("left");
  ranks->leave();
  cream::set_current_ranks(nullptr);
}

}  // namespace

uint16_t free_port() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    throw Failure("no free port");
  ::close(fd);
  return ntohs(address.sin_port);
}

std::vector<RankOutcome> outcomes_of(const std::string& name, int ranks,
                                     const std::function<void(cream::Ranks&)>& body) {
  if (!cream::built_with_gloo()) throw Skip("this build has no Gloo");
  if (in_child()) {
    run_child(body);
    return {};
  }
  const std::string port = std::to_string(free_port());
  const model_files::TemporaryFolder folder;
  std::vector<pid_t> pids;
  std::vector<std::string> files;
  for (int rank = 0; rank < ranks; ++rank) {
    files.push_back(folder.file("output-" + std::to_string(rank)));
    pids.push_back(start(name, rank, ranks, port, folder.path(), files.back()));
  }
  std::vector<RankOutcome> outcomes;
  for (int rank = 0; rank < ranks; ++rank) {
    int status = 0;
    waitpid(pids[rank], &status, 0);
    std::ifstream file(files[rank]);
    outcomes.push_back({WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status),
                        std::string(std::istreambuf_iterator<char>(file), {})});
  }
  return outcomes;
}

std::string shared_file(const std::string& name) {
  return std::string(std::getenv(kChild)) + "/" + name;
}

void on_ranks(const std::string& name, int ranks, const std::function<void(cream::Ranks&)>& body) {
  const auto outcomes = outcomes_of(name, ranks, body);
  std::string all;
  for (size_t rank = 0; rank < outcomes.size(); ++rank)
    all += "\nrank " + std::to_string(rank) + " ended with " + std::to_string(outcomes[rank].code) +
           ":\n" + outcomes[rank].output;
  const auto well = [](const RankOutcome& outcome) { return outcome.code == 0; };
  if (!std::all_of(outcomes.begin(), outcomes.end(), well)) throw Failure(all);
}

}  // namespace check
