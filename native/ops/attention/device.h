// Attention on a device: the functions of op.h and paged.h for tensors with on_device().
#pragma once

#include "ops/attention/paged.h"

namespace cream::ops::device {

// Whether the kernels support these tensors: all bf16 or all fp32, d a multiple of 8 up to 256.
inline bool fits_kernels(std::initializer_list<Tensor> tensors, int64_t d) {
  const auto type = tensors.begin()->scalar_type();
  return (type == at::kBFloat16 || type == at::kFloat) && d % 8 == 0 && d <= 256 &&
         std::all_of(tensors.begin(), tensors.end(),
                     [&](const Tensor& t) { return t.scalar_type() == type; });
}

// [rows, heads, d] with the heads of a row contiguous and 16-byte aligned rows, as in a slice of
// the joined projection; copies if needed.
inline Tensor for_kernels(const Tensor& x) {
  const int64_t values = 16 / x.element_size();
  const bool fits = x.stride(2) == 1 && x.stride(1) == x.size(2) && x.stride(0) % values == 0 &&
                    reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0;
  return fits ? x : x.clone(at::MemoryFormat::Contiguous);
}

Tensor paged_decode_attention(const Tensor& q, const Tensor& cache, const PagedRows& rows,
                              const AttentionKind& kind);

// Differentiable, with the gradient from what the forward pass saved. packed_attention_gradient, as
// in op.h, runs the forward pass again.
Tensor packed_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        const std::vector<Segment>& segments, const AttentionKind& kind);
AttentionGradient packed_attention_gradient(const Tensor& q, const Tensor& k, const Tensor& v,
                                            const Tensor& d_out,
                                            const std::vector<Segment>& segments,
                                            const AttentionKind& kind);

struct PackedSaved {
  Tensor out;                // [tokens, heads, d]
  Tensor logsumexp;          // of each query's scores, fp32, in the kernel's own layout
  Tensor rng_state, unused;  // flash attention's own
};
struct PackedLayout {
  const std::vector<Segment>& segments;
  const AttentionKind& kind;
};
PackedSaved packed_forward(const Tensor& q, const Tensor& k, const Tensor& v,
                           const std::vector<Segment>& segments, const AttentionKind& kind);
AttentionGradient packed_backward(const Tensor& q, const Tensor& k, const Tensor& v,
                                  const Tensor& d_out, const PackedSaved& saved,
                                  const PackedLayout& layout);

}  // namespace cream::ops::device
