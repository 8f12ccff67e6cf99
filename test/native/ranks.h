// A test case in several processes: it starts itself again under torchrun's variables, once per
// rank, and passes where every rank does. A case without Gloo is skipped.
#pragma once

#include <functional>
#include <string>

#include "parallel/ranks.h"

namespace check {

// A TCP port of this machine that nothing listens on.
uint16_t free_port();

// Calls `body` in each of `ranks` processes; `name` is the case's own.
void on_ranks(const std::string& name, int ranks,
              const std::function<void(cream::Ranks& ranks)>& body);

// The path of a file in a temporary folder that the ranks of the case share; for use in `body`.
std::string shared_file(const std::string& name);

// The lines that the ranks wrote, by rank: for a case whose ranks end themselves. `body` as above;
// the exit codes are returned (−signal for a killed process).
struct RankOutcome {
  int code = 0;
  std::string output;
};
std::vector<RankOutcome> outcomes_of(const std::string& name, int ranks,
                                     const std::function<void(cream::Ranks& ranks)>& body);

}  // namespace check
