#include "ops/pages/cuda.h"

#include "ops/pages/block.h"
#include "support/block_cuda.h"

namespace cream::ops {
namespace {

template <class T, int N>
int write(const WritePagesCuda<T>& c, void* stream) {
  return launch(WritePagesBlock<T, N>{c.k, c.v, c.cache, c.pages, c.slots, c.kv_heads, c.d,
                                      c.k_stride, c.v_stride, c.page_size},
                {c.rows, threads_for(c.kv_heads * c.d / N)}, stream);
}
template <int N, class T>
int rope(const RopePagesCuda<T>& c, void* stream) {
  return launch(RopePagesBlock<T, N>{c.qkv, c.cos, c.sin, c.y, c.cache, c.pages, c.slots, c.heads,
                                     c.kv_heads, c.d, c.rotary_dim, c.page_size, c.kept_heads},
                {c.rows, threads_for((c.heads + c.kv_heads) * c.d / 2 / N)}, stream);
}
template <int N, class T>
bool turns(const RopePagesCuda<T>& c) {
  return fits_vectors<N>(c.rotary_dim / 2, {c.qkv, c.cos, c.sin, c.y, c.cache}) &&
         c.rotary_dim % 2 == 0 && c.d % N == 0;
}
template <int N, class T>
bool fits(const WritePagesCuda<T>& c) {
  return fits_vectors<N>(c.d, {c.k, c.v, c.cache}) && c.k_stride % N == 0 && c.v_stride % N == 0;
}

}  // namespace

int write_pages_cuda(const WritePagesCuda<uint16_t>& c, void* stream) {
  return fits<8>(c) ? write<uint16_t, 8>(c, stream) : write<uint16_t, 1>(c, stream);
}
int write_pages_cuda(const WritePagesCuda<float>& c, void* stream) {
  return fits<4>(c) ? write<float, 4>(c, stream) : write<float, 1>(c, stream);
}

int rope_pages_cuda(const RopePagesCuda<uint16_t>& c, void* stream) {
  return turns<8>(c) ? rope<8>(c, stream) : rope<1>(c, stream);
}
int rope_pages_cuda(const RopePagesCuda<float>& c, void* stream) {
  return turns<4>(c) ? rope<4>(c, stream) : rope<1>(c, stream);
}

int copy_pages_cuda(const CopyPagesCuda& c, void* stream) {
  const int64_t vectors = c.page_bytes / 16;
  return launch(CopyPagesBlock{static_cast<Vec<uint32_t, 4>*>(c.cache), c.from, c.to, c.copies,
                               c.pages, vectors},
                {c.layers * c.copies, threads_for(vectors)}, stream);
}

}  // namespace cream::ops
