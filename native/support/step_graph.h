// A step that runs again and again over the same buffers. On CUDA it is captured as a graph, whose
// hundreds of kernels then are one launch; elsewhere, and where it cannot be captured, it just
// runs. What the step allocates comes from the graphs' own pool, so nothing that it returns may be
// kept: results go to buffers made outside. A step must not wait for the device, nor copy to or
// from pageable memory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "support/torch.h"

namespace cream {

class StepGraph {
 public:
  explicit StepGraph(at::Device device);
  ~StepGraph();  // on CUDA: once the device is done with what was replayed
  StepGraph(const StepGraph&) = delete;
  StepGraph& operator=(const StepGraph&) = delete;

  // `key` names what may differ between steps: sizes, never contents. The first runs of a key are
  // plain ones, as libraries set themselves up in them; a key that comes back is captured and from
  // then on replayed.
  void run(int64_t key, const std::function<void()>& step);

 private:
  struct Captured;
  std::unique_ptr<Captured> captured_;
};

}  // namespace cream
