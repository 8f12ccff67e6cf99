// Detects dead ranks by counters in the store. Rank 0 watches all others, and they watch rank 0;
// rank 0 reports a lost rank to all.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "parallel/backends.h"
#include "parallel/ranks.h"

namespace cream {

class Watch {
 public:
  // `store`: a connection that nothing else uses.
  Watch(StorePtr store, const RankEnvironment& place, const RankTimes& times);
  ~Watch() { end(); }
  void end();

 private:
  void beat();    // thread: raises its counter, reads the others'
  void listen();  // thread: notices that beat() hangs in the network
  std::vector<std::string> values_of(const std::vector<std::string>& keys);
  void look_at(const std::vector<std::string>& keys, std::vector<std::string>& seen,
               std::vector<int>& missed);
  bool sleep();  // one beat; false once the watch ends
  [[noreturn]] void lose(const std::string& what);

  const StorePtr store_;
  const RankEnvironment place_;
  const RankTimes times_;
  std::atomic<uint64_t> beats_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ended_ = false;
  std::thread beating_, listening_;  // last members: they read the others
};

}  // namespace cream
