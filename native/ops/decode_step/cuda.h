// The inputs of a decode step on the GPU; conventions as in ops/rms_norm/cuda.h. One block: a step
// has at most hundreds of rows.
#pragma once

#include "ops/decode_step/block.h"

namespace cream::ops {

int decode_step_cuda(const DecodeStepBlock& call, void* stream);

}  // namespace cream::ops
