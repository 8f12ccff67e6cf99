// The order in which PyTorch's env:// rendezvous connects: torchrun's agent holds the store, and
// each restart has its own part of it; without an agent rank 0 holds it.
#include "parallel/ranks.h"

#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "parallel/backends.h"
#include "parallel/watch.h"
#include "support/error.h"

namespace cream {
namespace {

// Longest pause between two polls of an awaited key.
constexpr std::chrono::milliseconds kLongestPause{64};
constexpr const char* kOwnPort = "each run a MASTER_PORT of its own.";

std::vector<uint8_t> bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

// The sentence of an exception of c10d or Gloo, without its stack, its source file and its advice.
std::string sentence_of(const std::exception& error) {
  std::string text = error.what();
  text = text.substr(0, text.find('\n'));
  if (const size_t file = text.find("] "); text.rfind("[/", 0) == 0 && file != std::string::npos)
    text.erase(0, file + 2);
  return text.substr(0, text.find(". This is typically caused"));
}

// Turns exceptions of c10d into an Error of one sentence: `failed` (first line)`cause`.
template <class F>
auto explained(const char* failed, const char* cause, F&& ask) {
  try {
    return ask();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Error(ErrorCode::io,
                std::string("[parallel] ") + failed + " (" + sentence_of(error) + ")" + cause +
                    "; start the run again in the same way, and it goes on from what is saved.");
  }
}

template <class F>
auto answered(F&& ask) {
  return explained("the store that the ranks share does not answer", "", ask);
}

Error missing_group(bool cpu) {
  return Error(ErrorCode::unsupported,
               std::string("[parallel] this build has no ") +
                   (cpu ? "Gloo, which several processes on CPUs need; install its headers (Debian "
                          "and Ubuntu: apt-get install libgloo-dev)"
                        : "NCCL, which several GPUs need; install NVIDIA's nccl package beside "
                          "libtorch") +
                   " and build again with `npx cream setup --build`.");
}

class C10dGroup : public Group {
 public:
  C10dGroup(StorePtr store, const RankEnvironment& place, const RankTimes& times)
      : store_(std::move(store)), place_(place), times_(times) {}

  int rank() const override { return place_.rank; }
  int size() const override { return place_.size; }
  bool single() const override { return false; }

  Pending all_reduce(Tensor tensor) override {
    return begin(tensor, [tensor](c10d::Backend& backend) {
      std::vector<Tensor> tensors{tensor};
      return backend.allreduce(tensors);
    });
  }
  Pending reduce_scatter(Tensor shard, Tensor whole) override {
    if (whole.device().is_cpu()) return sum_of_parts(shard, whole);
    return begin(whole, [shard, whole](c10d::Backend& backend) mutable {
      return backend._reduce_scatter_base(shard, whole);
    });
  }
  Pending all_gather(Tensor whole, Tensor shard) override {
    return begin(whole, [shard, whole](c10d::Backend& backend) mutable {
      return backend._allgather_base(whole, shard);
    });
  }
  Pending all_gather(std::vector<Tensor> wholes, std::vector<Tensor> shards) override {
    if (wholes.empty()) return [] {};
    const Tensor like = wholes.front();
    return begin(like, [wholes = std::move(wholes),
                        shards = std::move(shards)](c10d::Backend& backend) mutable {
      return backend.allgather_into_tensor_coalesced(wholes, shards);
    });
  }

 private:
  // Gloo's own reduce-scatter sums all of `whole` on every rank, which sends twice the bytes.
  Pending sum_of_parts(const Tensor& shard, const Tensor& whole) {
    Tensor parts = at::empty_like(whole);  // the own part of every rank's
    Pending received = begin(whole, [parts, sent = whole](c10d::Backend& backend) mutable {
      std::vector<int64_t> equal;
      return backend.alltoall_base(parts, sent, equal, equal);
    });
    return [received = std::move(received), parts, shard, ranks = size()] {
      received();
      const at::NoGradGuard no_grad;
      const Tensor each = parts.view({ranks, -1});
      shard.copy_(each[0]);
      for (int64_t rank = 1; rank < ranks; ++rank) shard.add_(each[rank]);
    };
  }

  template <class Start>
  Pending begin(const Tensor& tensor, Start start) {
    const c10::intrusive_ptr<c10d::Work> work =
        told([&] { return start(backend_for(tensor.device())); });
    return [work] { told([&] { return work->wait(); }); };
  }

  template <class F>
  static auto told(F&& body) {
    return explained("an operation of all ranks failed",
                     ": another rank has ended, or the network between the machines fails", body);
  }

  c10d::Backend& backend_for(at::Device device) {
    BackendPtr& backend = device.is_cpu() ? cpu_ : device_;
    if (!backend) {
      // Gloo and NCCL exchange their addresses under the same names.
      const auto own =
          c10::make_intrusive<c10d::PrefixStore>(device.is_cpu() ? "gloo" : "nccl", store_);
      backend = device.is_cpu() ? make_gloo(own, place_, times_.collective)
                                : make_nccl(own, place_, times_.collective);
    }
    if (!backend) throw missing_group(device.is_cpu());
    return *backend;
  }

  const StorePtr store_;
  const RankEnvironment place_;
  const RankTimes times_;
  BackendPtr cpu_, device_;
};

// Says `sentence` if this lives longer than `patience`.
class Patience {
 public:
  Patience(std::chrono::milliseconds patience, std::string sentence)
      : waiting_([this, patience, sentence = std::move(sentence)] {
          std::unique_lock lock(mutex_);
          if (!wake_.wait_for(lock, patience, [this] { return over_; }))
            std::fprintf(stderr, "cream: %s\n", sentence.c_str());
        }) {}
  ~Patience() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    wake_.notify_all();
    waiting_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool over_ = false;
  std::thread waiting_;  // last member: it reads the others
};

class C10dRanks : public Ranks {
 public:
  C10dRanks(const RankEnvironment& place, const RankTimes& times) : place_(place) {
    c10d::TCPStoreOptions options;
    options.port = place.master_port;
    options.isServer = place.rank == 0 && !place.agent_store;
    options.numWorkers = static_cast<size_t>(place.size);
    options.waitWorkers = false;
    options.multiTenant = true;
    options.timeout = times.joining;
    store_ = connect(options, times);
    await_all(times);
    options.isServer = false;
    // A connection is busy while a process group waits on it for the addresses of the others; by
    // the one above a rank learns meanwhile that another one has failed.
    group_ = std::make_unique<C10dGroup>(connect(options, times), place, times);
    watch_ = std::make_unique<Watch>(connect(options, times), place, times);
  }

  const RankEnvironment& place() const override { return place_; }
  Group& group() override { return *group_; }

  void set(const std::string& key, const std::string& value) override {
    answered([&] { store_->set(key, bytes_of(value)); });
  }
  std::optional<std::string> get(const std::string& key) override {
    return answered([&]() -> std::optional<std::string> {
      if (!store_->check({key})) return std::nullopt;
      return text_of(store_->get(key));
    });
  }
  std::optional<std::string> await(const std::string& key,
                                   std::chrono::milliseconds time) override {
    // c10d's wait() writes warnings of its own where the time passes.
    const auto end = std::chrono::steady_clock::now() + time;
    for (std::chrono::milliseconds pause{1};; pause = std::min(2 * pause, kLongestPause)) {
      if (auto value = get(key)) return value;
      if (std::chrono::steady_clock::now() >= end) return std::nullopt;
      std::this_thread::sleep_for(pause);
    }
  }
  int64_t add(const std::string& key, int64_t value) override {
    return answered([&] { return store_->add(key, value); });
  }
  void remove(const std::string& key) override {
    answered([&] { return store_->deleteKey(key); });
  }
  void push(const std::string& queue, const std::string& value) override {
    answered([&] { store_->queuePush(queue, bytes_of(value)); });
  }
  std::optional<std::string> pop(const std::string& queue) override {
    return answered([&]() -> std::optional<std::string> {
      if (store_->queueLen(queue) == 0) return std::nullopt;
      return text_of(store_->queuePop(queue, false));
    });
  }
  void leave() override { watch_->end(); }

 private:
  std::string at_store() const {
    return "the store at " + place_.master_address + ":" + std::to_string(place_.master_port);
  }
  std::string self() const { return "rank " + std::to_string(place_.rank); }
  bool holds_store() const { return place_.rank == 0 && !place_.agent_store; }

  StorePtr connect(const c10d::TCPStoreOptions& options, const RankTimes& times) const {
    std::optional<Patience> patience;
    if (place_.rank < 2 || place_.local_rank == 0)
      patience.emplace(times.patience, "Rank " + std::to_string(place_.rank) + " waits for " +
                                           at_store() + ", which does not answer.");
    try {
      return c10::make_intrusive<c10d::PrefixStore>(
          "cream/attempt_" + std::to_string(place_.attempt),
          c10::make_intrusive<c10d::TCPStore>(place_.master_address, options));
    } catch (const std::exception& error) {
      const std::string cause = sentence_of(error);
      if (options.isServer && cause.find("EADDRINUSE") != std::string::npos)
        throw Error(ErrorCode::io, "[parallel] rank 0 cannot hold the store, because port " +
                                       std::to_string(place_.master_port) +
                                       " is in use; give each run a MASTER_PORT of its own, and "
                                       "RANK 0 to one process only.");
      throw Error(ErrorCode::io, "[parallel] " + self() + " cannot reach " + at_store() + " (" +
                                     cause + "); check MASTER_ADDR, MASTER_PORT and the network.");
    }
  }

  void await_all(const RankTimes& times) {
    // Set once: "complete", or the sentence with which all ranks end.
    const std::string outcome = "outcome";
    const auto decide = [&](const std::string& value) {
      answered([&] { store_->compareSet(outcome, {}, bytes_of(value)); });
    };
    const auto fail = [&](const std::string& what) {
      decide(what);
      if (holds_store()) std::this_thread::sleep_for(8 * kLongestPause);  // for the others to read
      throw Error(ErrorCode::io, "[parallel] " + what);
    };
    const std::string size = std::to_string(place_.size);
    const std::string first =
        answered([&] { return text_of(store_->compareSet("size", {}, bytes_of(size))); });
    if (first != size)
      fail("WORLD_SIZE is " + size + " for " + self() + " and " + first + " for another one at " +
           at_store() + "; give all ranks of a run the same, and " + kOwnPort);
    if (add("rank/" + std::to_string(place_.rank), 1) > 1)
      fail("several processes are " + self() + " at " + at_store() +
           "; give each process of a run a RANK of its own, and " + kOwnPort);
    if (add("joined", 1) == place_.size) decide("complete");
    std::optional<std::string> decided = await(outcome, times.patience);
    if (!decided && place_.rank < 2)  // one of them may be the rank that is missing
      std::fprintf(stderr, "cream: Rank %d waits for the other ranks: %d of %d have joined.\n",
                   place_.rank, static_cast<int>(add("joined", 0)), place_.size);
    if (!decided) decided = await(outcome, times.joining - times.patience);
    if (!decided)
      throw Error(ErrorCode::io, "[parallel] only " + std::to_string(add("joined", 0)) + " of " +
                                     size + " ranks have joined within " +
                                     std::to_string(times.joining.count() / 1000) +
                                     " s; see the messages of the others, and start all of them.");
    if (*decided != "complete") fail(*decided);
  }

  const RankEnvironment place_;
  StorePtr store_;
  std::unique_ptr<C10dGroup> group_;
  std::unique_ptr<Watch> watch_;
};

std::mutex current_mutex;
std::shared_ptr<Ranks>& current() {
  static auto& ranks = *new std::shared_ptr<Ranks>;  // never destroyed: threads may still use it
  return ranks;
}

}  // namespace

std::shared_ptr<Ranks> join_ranks(const RankEnvironment& place, const RankTimes& times) {
  if (!built_with_gloo() && !built_with_nccl()) throw missing_group(true);
  // c10d's own warnings, with their stacks, add nothing to the errors of this engine.
  setenv("TORCH_CPP_LOG_LEVEL", "ERROR", 0);
  c10::initLogging();
  return std::make_shared<C10dRanks>(place, times);
}

std::shared_ptr<Ranks> current_ranks() {
  const std::lock_guard lock(current_mutex);
  return current();
}

void set_current_ranks(std::shared_ptr<Ranks> ranks) {
  const std::lock_guard lock(current_mutex);
  current() = std::move(ranks);
}

Group& current_group() {
  const std::shared_ptr<Ranks> ranks = current_ranks();
  return ranks ? ranks->group() : single_group();
}

}  // namespace cream
