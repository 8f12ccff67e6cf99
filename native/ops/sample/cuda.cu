#include "ops/sample/cuda.h"

#include "support/block_cuda.h"

namespace cream::ops {

int sample_cuda(const SampleCuda& c, void* stream) {
  return launch(SampleBlock{c.logits, c.row, c.banned, c.token, c.logprob, c.vocab},
                {c.rows, 1024, SampleBlock::scratch_bytes()}, stream);
}

}  // namespace cream::ops
