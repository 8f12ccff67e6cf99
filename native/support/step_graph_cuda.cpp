// Capture and replay of CUDA graphs through libtorch's, so that its allocator knows. The graphs share one pool: a replay may overwrite
// what another graph's step allocated, which nobody reads any more, as all of them run in one stream's order.
#include "support/step_graph.h"

#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <map>

namespace cream {

namespace {
constexpr int kPlainRuns = 2;  // before a key is captured
}

struct StepGraph::Captured {
  struct Step {
    int runs = 0;
    std::unique_ptr<at::cuda::CUDAGraph> graph;
  };
  at::Device device;
  std::map<int64_t, Step> steps;
  at::cuda::MempoolId_t pool = at::cuda::graph_pool_handle();
};

StepGraph::StepGraph(at::Device device) {
  if (device.is_cuda()) captured_.reset(new Captured{device, {}});
}

StepGraph::~StepGraph() {
  if (captured_ && !captured_->steps.empty()) cudaStreamSynchronize(at::cuda::getCurrentCUDAStream(captured_->device.index()));
}

void StepGraph::run(int64_t key, const std::function<void()>& step) {
  if (!captured_) return step();
  Captured::Step& known = captured_->steps[key];
  if (!known.graph && known.runs++ < kPlainRuns) return step();
  if (!known.graph) {
    // A stream of its own, as the default one cannot be captured. Recording runs nothing, so the streams need not wait for each other.
    const c10::cuda::CUDAStreamGuard recording(at::cuda::getStreamFromPool(false, captured_->device.index()));
    auto graph = std::make_unique<at::cuda::CUDAGraph>();
    graph->capture_begin(captured_->pool, cudaStreamCaptureModeThreadLocal);  // other models' threads may go on allocating
    step();
    graph->capture_end();
    known.graph = std::move(graph);
  }
  known.graph->replay();
}

}  // namespace cream
