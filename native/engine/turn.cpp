#include "engine/turn.h"

#include <algorithm>
#include <vector>

#include "engine/plan.h"
#include "engine/shared_model.h"
#include "support/device.h"

namespace cream {
namespace {

struct Turns {
  std::mutex mutex;  // held while a model leaves its device, so that it cannot end meanwhile
  std::vector<Turn*> all;
};
Turns& turns() {
  static auto& every = *new Turns;  // never destroyed: a model may be released at exit
  return every;
}

std::atomic<uint64_t> turns_begun{0};

}  // namespace

Turn::Turn(std::function<bool(at::Device)> leave) : leave_(std::move(leave)) {
  const std::lock_guard lock(turns().mutex);
  turns().all.push_back(this);
}

Turn::~Turn() {
  const std::lock_guard lock(turns().mutex);
  std::erase(turns().all, this);
}

std::unique_lock<std::mutex> Turn::begin() {
  std::unique_lock lock(working_);
  last_.store(turns_begun.fetch_add(1) + 1);
  return lock;
}

bool Turn::ask(at::Device device) {
  if (device.is_cpu()) return false;
  const std::lock_guard lock(turns().mutex);
  std::vector<std::pair<uint64_t, Turn*>> others;
  for (Turn* const other : turns().all)
    if (other != this) others.emplace_back(other->last_.load(), other);
  std::sort(others.begin(), others.end());
  return std::any_of(others.begin(), others.end(), [&](const auto& one) {
    Turn& other = *one.second;
    const std::unique_lock idle(other.working_, std::try_to_lock);
    return idle.owns_lock() && other.leave_(device);
  });
}

void make_room(Turn& turn, uint64_t bytes, at::Device device) {
  const uint64_t memory = device_memory(device);
  if (memory == 0) return;
  while (live_weight_bytes(device) + bytes + unplanned_bytes(memory) > memory && turn.ask(device)) {
  }
}

}  // namespace cream
