// Captures and replays CUDA graphs through libtorch, so that its allocator knows of them. All
// graphs share one memory pool. A replay may overwrite what another graph's step has allocated;
// that is safe, because the graphs run in the order of one stream.
#include "support/step_graph.h"

#include <ATen/core/CachingHostAllocator.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <map>

namespace cream {

namespace {

constexpr int kPlainRuns = 2;  // per key, before it is captured

// The default stream cannot be captured. One stream per thread and device serves all captures,
// because cuBLAS keeps a workspace per stream. A capture executes nothing, so the streams need not
// wait for each other.
c10::cuda::CUDAStream recording_stream(c10::DeviceIndex device) {
  static thread_local std::map<c10::DeviceIndex, c10::cuda::CUDAStream> streams;
  const auto found = streams.find(device);
  return found != streams.end()
             ? found->second
             : streams
                   .emplace(device, c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device))
                   .first->second;
}

// libtorch's messages go on with a stack trace.
std::string first_line(const std::string& message) { return message.substr(0, message.find('\n')); }

// Until a pool is ended, allocations still go to it.
void end_pool(c10::DeviceIndex device, at::cuda::MempoolId_t pool) {
  try {
    c10::cuda::CUDACachingAllocator::endAllocateToPool(device, pool);
    at::getHostAllocator(at::kCUDA)->end_allocate_to_pool(pool);
  } catch (const c10::Error&) {  // it was ended
  }
}

}  // namespace

struct StepGraph::Captured {
  struct Step {
    int runs = 0;
    std::unique_ptr<at::cuda::CUDAGraph> graph;
    bool plain = false;  // it could not be captured
  };
  at::Device device;
  std::map<int64_t, Step> steps;
  std::string failure;
  at::cuda::MempoolId_t pool = at::cuda::graph_pool_handle();

  std::unique_ptr<at::cuda::CUDAGraph> record(const std::function<void()>& step);
};

// Null where the step cannot be captured or memory for the graph is short; in either case nothing
// of the step has run.
std::unique_ptr<at::cuda::CUDAGraph> StepGraph::Captured::record(
    const std::function<void()>& step) {
  const c10::cuda::CUDAStreamGuard recording(recording_stream(device.index()));
  auto graph = std::make_unique<at::cuda::CUDAGraph>();
  try {
    graph->capture_begin(
        pool, cudaStreamCaptureModeThreadLocal);  // other models' threads may keep allocating
    step();
    graph->capture_end();
    return graph;
  } catch (const std::exception& error) {
    if (failure.empty()) failure = first_line(error.what());
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    cudaStreamIsCapturing(recording.current_stream(), &status);
    try {
      if (status != cudaStreamCaptureStatusNone) graph->capture_end();
    } catch (const c10::Error&) {  // repeats the first error
    }
    end_pool(device.index(), pool);
    cudaGetLastError();  // clears the error, which ATen would report otherwise
    return nullptr;
  }
}

StepGraph::StepGraph(at::Device device) {
  if (device.is_cuda()) captured_.reset(new Captured{device, {}});
}

StepGraph::~StepGraph() {
  if (!captured_ || captured_->steps.empty()) return;
  const c10::cuda::CUDAGuard guard(captured_->device);  // a default stream is the current device's
  cudaStreamSynchronize(at::cuda::getCurrentCUDAStream(captured_->device.index()));
}

std::string StepGraph::failure() const { return captured_ ? captured_->failure : ""; }

void StepGraph::run(int64_t key, const std::function<void()>& step) {
  if (!captured_) return step();
  Captured::Step& known = captured_->steps[key];
  if (known.plain || (!known.graph && known.runs++ < kPlainRuns)) return step();
  if (!known.graph) known.graph = captured_->record(step);
  known.plain = !known.graph;
  if (known.plain) return step();
  known.graph->replay();
}

}  // namespace cream
