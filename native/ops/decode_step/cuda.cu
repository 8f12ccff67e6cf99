#include "ops/decode_step/cuda.h"

#include "support/block_cuda.h"

namespace cream::ops {

int decode_step_cuda(const DecodeStepBlock& call, void* stream) {
  return launch(call, {1, threads_for(call.rows)}, stream);
}

}  // namespace cream::ops
