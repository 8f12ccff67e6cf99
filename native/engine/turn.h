// Models that one device cannot hold together take turns. A model that begins to compute has a turn
// and asks for the memory that it lacks; models without work then leave the device, the one that
// was used least recently first. Their weights wait in the host's memory until they are used again
// (SharedModel::offload). This holds for all models of the process, whoever loaded them.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>

#include "support/torch.h"

namespace cream {

class Turn {
 public:
  // `leave` moves the owner's weights from a device to the host's memory; false where the owner has
  // none there or must keep them. It runs on the thread of a model that asks, between two turns of
  // the owner.
  explicit Turn(std::function<bool(at::Device)> leave);
  ~Turn();
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  // The owner computes, or touches its model, while it holds the result.
  [[nodiscard]] std::unique_lock<std::mutex> begin();
  // Asks the other models of a device for memory, one of which leaves it; false where none can.
  // Never waits for a model that is working.
  bool ask(at::Device device);

 private:
  const std::function<bool(at::Device)> leave_;
  std::mutex working_;
  std::atomic<uint64_t> last_{0};  // when its last turn began
};

// Asks until weights of `bytes` fit beside those that live on the device, or no model can leave.
// Does nothing where the device's memory is unknown, as on the CPU.
void make_room(Turn& turn, uint64_t bytes, at::Device device);

}  // namespace cream
