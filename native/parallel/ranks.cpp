// The order in which PyTorch's env:// rendezvous connects: torchrun's agent holds the store, and
// each restart has its own part of it; without an agent rank 0 holds it.
#include "parallel/ranks.h"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <algorithm>
#include <cstdio>
#include <mutex>
#include <thread>

#include "parallel/backends.h"
#include "parallel/watch.h"
#include "support/error.h"

namespace cream {
namespace {

// Longest pause between two polls of an awaited key.
constexpr std::chrono::milliseconds kLongestPause{64};

std::vector<uint8_t> bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

// The first line of an exception of c10d; the rest is its stack.
std::string first_line(const std::exception& error) {
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
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
                std::string("[parallel] ") + failed + " (" + first_line(error) + ")" + cause +
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
    store_ = connect(options);
    await_all(times);
    group_ = std::make_unique<C10dGroup>(store_, place, times);
    options.isServer = false;
    watch_ = std::make_unique<Watch>(connect(options), place, times);
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
  StorePtr connect(const c10d::TCPStoreOptions& options) const {
    try {
      return c10::make_intrusive<c10d::PrefixStore>(
          "cream/attempt_" + std::to_string(place_.attempt),
          c10::make_intrusive<c10d::TCPStore>(place_.master_address, options));
    } catch (const std::exception& error) {
      throw Error(ErrorCode::io, "[parallel] rank " + std::to_string(place_.rank) +
                                     " cannot reach the store at " + place_.master_address + ":" +
                                     std::to_string(place_.master_port) + " (" + first_line(error) +
                                     "); check MASTER_ADDR, MASTER_PORT and the network.");
    }
  }

  void await_all(const RankTimes& times) {
    const int64_t there = add("joined", 1);
    if (there == place_.size) set("complete", "1");
    if (there > place_.size)
      throw Error(ErrorCode::io, "[parallel] more than " + std::to_string(place_.size) +
                                     " processes have joined the store at " +
                                     place_.master_address + ":" +
                                     std::to_string(place_.master_port) +
                                     "; give every run a MASTER_PORT of its own.");
    if (await("complete", times.patience)) return;
    if (place_.rank < 2)  // one of them may be the rank that is missing
      std::fprintf(stderr, "cream: Rank %d waits for the other ranks: %d of %d have joined.\n",
                   place_.rank, static_cast<int>(add("joined", 0)), place_.size);
    if (!await("complete", times.joining - times.patience))
      throw Error(ErrorCode::io, "[parallel] only " + std::to_string(add("joined", 0)) + " of " +
                                     std::to_string(place_.size) + " ranks have joined within " +
                                     std::to_string(times.joining.count() / 1000) +
                                     " s; see the messages of the others, and start all of them.");
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
