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

// The default stream cannot be captured. One stream a thread and device, not one a capture: cuBLAS keeps a workspace for each that it
// has seen. Recording runs nothing, so the streams need not wait for each other.
c10::cuda::CUDAStream recording_stream(c10::DeviceIndex device) {
  static thread_local std::map<c10::DeviceIndex, c10::cuda::CUDAStream> streams;
  const auto found = streams.find(device);
  return found != streams.end() ? found->second : streams.emplace(device, c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device)).first->second;
}

std::unique_ptr<at::cuda::CUDAGraph> recorded(const std::function<void()>& step, at::cuda::MempoolId_t pool, c10::DeviceIndex device) {
  const c10::cuda::CUDAStreamGuard recording(recording_stream(device));
  auto graph = std::make_unique<at::cuda::CUDAGraph>();
  graph->capture_begin(pool, cudaStreamCaptureModeThreadLocal);  // other models' threads may go on allocating
  try {
    step();
  } catch (...) {
    try {
      graph->capture_end();  // or the stream would go on recording
    } catch (const c10::Error&) {  // a capture that failed says so again
    }
    throw;
  }
  graph->capture_end();
  return graph;
}

}  // namespace

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
  if (!known.graph) known.graph = recorded(step, captured_->pool, captured_->device.index());
  known.graph->replay();
}

}  // namespace cream
