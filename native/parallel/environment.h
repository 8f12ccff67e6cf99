// A process's place among the ranks of a run, as torchrun gives it in environment variables (also
// set by hand or from Slurm's).
#pragma once

#include <cstdint>
#include <string>

namespace cream {

struct RankEnvironment {
  int rank = 0, size = 1;
  int local_rank = 0, local_size = 1;  // on this machine
  std::string master_address;          // of the store
  uint16_t master_port = 0;
  // torchrun's agent holds the store; otherwise rank 0 does.
  bool agent_store = false;
  int attempt = 0;  // restarts by torchrun so far
};

// Reads RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT,
// TORCHELASTIC_USE_AGENT_STORE and TORCHELASTIC_RESTART_COUNT. One rank where WORLD_SIZE is absent
// or 1. Throws Error{invalid_argument} naming the variable that is missing, no such number, or
// contradicts another one.
RankEnvironment rank_environment();

}  // namespace cream
