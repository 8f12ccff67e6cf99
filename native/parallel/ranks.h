// This process as one of the ranks of a run: the key-value store that they share (c10d's TCPStore,
// of torchrun's agent or of rank 0), their process group, and the watch that they keep on each
// other. Without torchrun nothing of this exists and single_group() computes.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "parallel/environment.h"
#include "parallel/group.h"

namespace cream {

// Process groups of this build: Gloo for CPUs, NCCL for GPUs.
bool built_with_gloo();
bool built_with_nccl();

struct RankTimes {
  std::chrono::milliseconds beat{1000};
  int lost_beats = 20;                                   // a rank that misses so many is lost
  std::chrono::milliseconds collective{30 * 60 * 1000};  // of one operation
  std::chrono::milliseconds joining{5 * 60 * 1000};      // until all ranks are there
  std::chrono::milliseconds patience{10 * 1000};  // of them, before a rank says that it waits
};

class Ranks {
 public:
  virtual ~Ranks() = default;
  virtual const RankEnvironment& place() const = 0;
  virtual Group& group() = 0;

  // The store; any thread. Keys belong to this start of the run. All throw Error{io} where the
  // store does not answer.
  virtual void set(const std::string& key, const std::string& value) = 0;
  virtual std::optional<std::string> get(const std::string& key) = 0;  // none: not set
  // Waits up to `time` for `key` to be set.
  virtual std::optional<std::string> await(const std::string& key,
                                           std::chrono::milliseconds time) = 0;
  virtual int64_t add(const std::string& key, int64_t value) = 0;  // → the sum
  virtual void remove(const std::string& key) = 0;
  virtual void push(const std::string& queue, const std::string& value) = 0;
  virtual std::optional<std::string> pop(const std::string& queue) = 0;  // none: empty

  // Ends the watch: the run is over, and the other ranks may leave.
  virtual void leave() = 0;
};

// Joins the other ranks and waits until all are there. The watch begins: where a rank is lost or
// the store does not answer, it writes one sentence to stderr and ends this process with code 1,
// since no collective operation would end; a killed process loses nothing of a run. Throws
// Error{unsupported} in a build without Gloo, Error{io} where the others are not found in time.
std::shared_ptr<Ranks> join_ranks(const RankEnvironment& place, const RankTimes& times = {});

// The ranks that this process has joined, or null. A new trainer uses them.
std::shared_ptr<Ranks> current_ranks();
void set_current_ranks(std::shared_ptr<Ranks> ranks);
Group& current_group();

}  // namespace cream
