// The rows of a decode step on the GPU; conventions of ops/rms_norm/cuda.h. One block: a step has
// hundreds of rows at most.
#pragma once

#include "ops/decode_step/block.h"

namespace cream::ops {

int decode_step_cuda(const DecodeStepBlock& call, void* stream);

}  // namespace cream::ops
