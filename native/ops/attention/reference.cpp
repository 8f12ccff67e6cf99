// softmax(cap(scale·q·kᵀ))·v in plain ATen, one segment (or decode row) at a time:
// scaled_dot_product_attention, or explicit fp32 for capped scores, which it does not support.
// Other segments' keys are never read, so the cost grows with the sum of segment², not with the
// square of the batch.
#include <limits>

#include "ops/attention/op.h"
#include "support/error.h"

namespace cream::ops::reference {
namespace {

// [tokens, kv_heads, d] → [1, heads, tokens, d], each key/value head repeated for its query heads.
Tensor for_heads(const Tensor& x, int64_t heads) {
  const Tensor by_head = x.transpose(0, 1);  // [kv_heads, tokens, d]
  const int64_t group = heads / by_head.size(0);
  const Tensor repeated = group == 1 ? by_head : by_head.repeat_interleave(group, 0);
  return repeated.unsqueeze(0);
}

// Mask of row i of a segment: all of the prefix and itself up to i, within the window.
Tensor visible(int64_t length, int64_t prefix, const Tensor& like, int64_t window) {
  const Tensor past =
      at::ones({length, prefix + length}, like.options().dtype(at::kBool)).tril(prefix);
  return window > 0 ? past.triu(prefix + 1 - window) : past;
}

// [1, heads, rows, d] × [1, heads, keys, d]² → [1, heads, rows, d], fp32 (or double) inside.
Tensor capped_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        const std::optional<Tensor>& mask, const AttentionKind& kind) {
  const auto wide = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  Tensor scores = at::matmul(q.to(wide), k.to(wide).transpose(-1, -2)) * kind.scale_of(q.size(-1));
  scores = at::tanh(scores / kind.softcap) * kind.softcap;
  if (mask)
    scores = scores.masked_fill(mask->logical_not(), -std::numeric_limits<float>::infinity());
  return at::matmul(at::softmax(scores, -1), v.to(wide)).to(q.scalar_type());
}

Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, const Segment& segment,
              const Segment* prefix, const AttentionKind& kind) {
  const int64_t heads = q.size(1);
  const Tensor queries = q.narrow(0, segment.start, segment.length)
                             .transpose(0, 1)
                             .unsqueeze(0);  // [1, heads, length, d]
  Tensor keys = k.narrow(0, segment.start, segment.length),
         values = v.narrow(0, segment.start, segment.length);
  std::optional<Tensor> mask;
  if (prefix) {
    keys = at::cat({k.narrow(0, prefix->start, prefix->length), keys});
    values = at::cat({v.narrow(0, prefix->start, prefix->length), values});
  }
  if (prefix || kind.window > 0 || kind.softcap != 0)
    mask = visible(segment.length, prefix ? prefix->length : 0, q, kind.window);
  const Tensor out =
      kind.softcap != 0
          ? capped_attention(queries, for_heads(keys, heads), for_heads(values, heads), mask, kind)
          : at::scaled_dot_product_attention(
                queries, for_heads(keys, heads), for_heads(values, heads), mask,
                /*dropout_p=*/0.0, /*is_causal=*/!mask, kind.scale_of(q.size(2)));
  return out.squeeze(0).transpose(0, 1).reshape({segment.length, heads * q.size(2)});
}

// Keys as view() gives them, the groups that group_keys() transposed put back.
Tensor rows_of(const Tensor& keys, int64_t grouped) {
  if (grouped == 0) return keys;
  const int64_t heads = keys.size(0), d = keys.size(2);
  const Tensor groups = keys.narrow(1, 0, grouped).contiguous().view(at::kInt);
  const Tensor rows = groups.view({heads, grouped / key_group, -1, key_group})
                          .transpose(2, 3)
                          .contiguous()
                          .view(keys.scalar_type())
                          .view({heads, grouped, d});
  return at::cat({rows, keys.narrow(1, grouped, keys.size(1) - grouped)}, 1);
}

// The valid positions of one part of the cache as a tensor view: [kv_heads, length, d].
Tensor view(const void* data, int64_t length, int64_t capacity, int64_t kv_heads, const Tensor& q) {
  const int64_t d = q.size(2);
  return at::from_blob(const_cast<void*>(data), {kv_heads, length, d}, {capacity * d, d, 1},
                       q.options());
}

}  // namespace

Tensor packed_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        const std::vector<Segment>& segments, const AttentionKind& kind) {
  std::vector<Tensor> parts;
  int64_t next = 0;
  for (const Segment& segment : segments) {
    if (segment.start != next)
      throw Error(ErrorCode::internal,
                  "packed_attention: segments must cover the rows in order; one starts at " +
                      std::to_string(segment.start) + " where " + std::to_string(next) +
                      " was expected.");
    next += segment.length;
    if (segment.length > 0 && segment.start < q.size(0))
      parts.push_back(
          attend(q, k, v, segment, segment.prefix < 0 ? nullptr : &segments[segment.prefix], kind));
  }
  if (next != k.size(0))
    throw Error(ErrorCode::internal, "packed_attention: segments cover " + std::to_string(next) +
                                         " of " + std::to_string(k.size(0)) + " rows.");
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

Tensor decode_attention(const Tensor& q, const std::vector<DecodeSource>& sources, int64_t kv_heads,
                        const AttentionKind& kind) {
  at::NoGradGuard no_grad;
  const int64_t rows = q.size(0), heads = q.size(1), d = q.size(2);
  Tensor out = at::empty({rows, heads * d}, q.options());
  for (int64_t row = 0; row < rows; ++row) {
    const DecodeSource& s = sources[row];
    std::vector<Tensor> keys, values;
    if (s.shared_length > 0) {
      keys.push_back(rows_of(view(s.shared_keys, s.shared_length, s.shared_capacity, kv_heads, q),
                             s.shared_grouped));
      values.push_back(view(s.shared_values, s.shared_length, s.shared_capacity, kv_heads, q));
    }
    if (s.own_length > 0) {
      keys.push_back(
          rows_of(view(s.own_keys, s.own_length, s.own_capacity, kv_heads, q), s.own_grouped));
      values.push_back(view(s.own_values, s.own_length, s.own_capacity, kv_heads, q));
    }
    const Tensor k = at::cat(keys, 1).to(at::kFloat),
                 v = at::cat(values, 1).to(at::kFloat);  // [kv_heads, length, d]
    const Tensor query = q[row].to(at::kFloat).view({kv_heads, heads / kv_heads, d});
    Tensor scores =
        at::matmul(query, k.transpose(1, 2)) * kind.scale_of(d);  // [kv_heads, group, length]
    if (kind.softcap != 0) scores = at::tanh(scores / kind.softcap) * kind.softcap;
    const int64_t hidden = kind.window > 0 ? std::max<int64_t>(0, k.size(1) - kind.window) : 0;
    if (hidden > 0) scores.narrow(-1, 0, hidden).fill_(-std::numeric_limits<float>::infinity());
    const Tensor weights = at::softmax(scores, -1);
    out[row].copy_(at::matmul(weights, v).view({heads * d}));
  }
  return out;
}

}  // namespace cream::ops::reference
