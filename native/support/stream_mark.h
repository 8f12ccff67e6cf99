// An event in a device's stream, to wait for and to measure time with. On the CPU work is
// synchronous, so the event is the current time.
#pragma once

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <chrono>

#include "support/torch.h"

namespace cream {

class StreamMark {
 public:
  explicit StreamMark(at::Device device) : time_(std::chrono::steady_clock::now()) {
    if (!device.is_cuda()) return;
    event_.emplace(device.type(), c10::EventFlag::BACKEND_DEFAULT);  // records its time
    event_->record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
  }

  void wait() const {
    if (event_) event_->synchronize();
  }
  double seconds_since(const StreamMark& earlier) const {  // both have been waited for
    if (event_) return earlier.event_->elapsedTime(*event_) / 1000;
    return std::chrono::duration<double>(time_ - earlier.time_).count();
  }

 private:
  std::optional<c10::Event> event_;
  std::chrono::steady_clock::time_point time_;
};

}  // namespace cream
