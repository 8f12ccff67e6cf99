// A step that runs repeatedly over the same buffers. CUDA captures it as a graph, which launches
// its hundreds of kernels at once; other devices, and steps that cannot be captured, run it
// directly. Tensors that the step allocates come from the graphs' memory pool and must not be kept:
// results go to buffers allocated outside. A step must not wait for the device or copy to or from
// pageable memory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "support/torch.h"

namespace cream {

class StepGraph {
 public:
  explicit StepGraph(at::Device device);
  ~StepGraph();  // on CUDA: waits for the replayed graphs
  StepGraph(const StepGraph&) = delete;
  StepGraph& operator=(const StepGraph&) = delete;

  // `key` identifies the sizes that may differ between steps; contents may always differ. The first
  // runs of a key are not captured, because libraries initialise in them; a later run is captured,
  // and all further ones are replayed.
  void run(int64_t key, const std::function<void()>& step);

  // Why a step could not be captured, the first one; empty if all could.
  std::string failure() const;

 private:
  struct Captured;
  std::unique_ptr<Captured> captured_;
};

}  // namespace cream
