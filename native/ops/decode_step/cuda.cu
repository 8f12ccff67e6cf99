#include "ops/decode_rows/cuda.h"

#include "support/block_cuda.h"

namespace cream::ops {

int decode_rows_cuda(const DecodeRowsBlock& call, void* stream) {
  return launch(call, {1, threads_for(call.rows)}, stream);
}

}  // namespace cream::ops
