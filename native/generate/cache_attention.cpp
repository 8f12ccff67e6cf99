#include "generate/cache_attention.h"

#include "support/parallel.h"

namespace cream {

Tensor PrefillAttention::attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k,
                                const Tensor& v) {
  for (size_t i = 0; i < segments_.size(); ++i) {
    const Segment& s = segments_[i];
    blocks_[i]->write(layer.index, 0, k.narrow(0, s.start, s.length),
                      v.narrow(0, s.start, s.length));
  }
  return ops::packed_attention(q, k, v, segments_, layer.kind);
}

DecodeAttention::DecodeAttention(std::vector<Sequence*> sequences, int64_t kv_heads)
    : sequences_(std::move(sequences)), sources_(sequences_.size()), kv_heads_(kv_heads) {
  for (size_t i = 0; i < sequences_.size(); ++i) {
    const KvBlock& shared = *sequences_[i]->prefill->cache;
    const KvBlock& own = *sequences_[i]->own;
    sources_[i].shared_length = shared.length;
    sources_[i].shared_capacity = shared.capacity();
    sources_[i].own_length = own.length + 1;
    sources_[i].own_capacity = own.capacity();
  }
}

Tensor DecodeAttention::attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k,
                               const Tensor& v) {
  // The heads of a row are contiguous. Rows may be strided, because k and v are slices of the
  // joined projection.
  const auto row_of = [](const Tensor& t, size_t i) {
    return static_cast<const char*>(t.const_data_ptr()) + i * t.stride(0) * t.element_size();
  };
  const auto write = [&](size_t i) {
    const KvBlock& shared = *sequences_[i]->prefill->cache;
    KvBlock& own = *sequences_[i]->own;
    own.write_row(layer.index, own.length, row_of(k, i), row_of(v, i));
    sources_[i].shared_keys = shared.keys_data(layer.index);
    sources_[i].shared_grouped = shared.grouped(layer.index);
    sources_[i].shared_values = shared.values_data(layer.index);
    sources_[i].own_keys = own.keys_data(layer.index);
    sources_[i].own_grouped = own.grouped(layer.index);
    sources_[i].own_values = own.values_data(layer.index);
  };
  // Each row goes to a place that is in no cache, so a thread waits for memory.
  parallel_for(0, static_cast<int64_t>(sequences_.size()), 16, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) write(static_cast<size_t>(i));
  });
  return ops::decode_attention(q, sources_, kv_heads_, layer.kind);
}

}  // namespace cream
