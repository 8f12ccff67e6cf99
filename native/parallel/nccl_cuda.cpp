// NCCL's header lies in NVIDIA's wheel beside libtorch, or in the toolkit; its code is loaded by
// libtorch_cuda.
#ifdef USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include "parallel/backends.h"
#include "parallel/ranks.h"

namespace cream {

#ifdef USE_C10D_NCCL

bool built_with_nccl() { return true; }

BackendPtr make_nccl(const StorePtr& store, const RankEnvironment& place,
                     std::chrono::milliseconds timeout) {
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = timeout;
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, place.rank, place.size, options);
}

#else

bool built_with_nccl() { return false; }
BackendPtr make_nccl(const StorePtr&, const RankEnvironment&, std::chrono::milliseconds) {
  return {};
}

#endif

}  // namespace cream
