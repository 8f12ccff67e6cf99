#include "ops/sample/cuda.h"

#include "support/block_cuda.h"

namespace cream::ops {
namespace {

int64_t slices_of(int64_t vocab) { return (vocab + kSampleSlice - 1) / kSampleSlice; }

template <int N>
int sample(const SampleCuda& c, void* stream) {
  const int64_t slices = slices_of(c.vocab);
  auto* const bins = static_cast<SampleBin*>(c.scratch);
  auto* const stats = reinterpret_cast<SliceStats*>(bins + c.rows * slices * kSampleBins);
  const int error =
      launch(SampleSliceBlock<N>{c.logits, c.row, c.banned, stats, bins, c.vocab, slices},
             {c.rows * slices, kSliceThreads, SampleSliceBlock<N>::shared_bytes}, stream);
  if (error != 0) return error;
  return launch(
      SampleBlock<N>{c.logits, c.row, c.banned, stats, bins, c.token, c.logprob, c.vocab, slices},
      {c.rows, 256, SampleBlock<N>::shared_bytes}, stream);
}

}  // namespace

int64_t sample_scratch(int64_t rows, int64_t vocab) {
  return rows * slices_of(vocab) *
         static_cast<int64_t>(kSampleBins * sizeof(SampleBin) + sizeof(SliceStats));
}

int sample_cuda(const SampleCuda& c, void* stream) {
  return fits_vectors<4>(c.vocab, {c.logits}) ? sample<4>(c, stream) : sample<1>(c, stream);
}

}  // namespace cream::ops
