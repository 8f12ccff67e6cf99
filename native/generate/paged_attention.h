// Attention that writes the pages of a device's KV cache: prompts (prefill) or one new token per
// sequence (decode).
#pragma once

#include <map>
#include <vector>

#include "generate/sequence.h"
#include "model/paged_cache.h"
#include "model/transformer.h"
#include "ops/attention/paged.h"
#include "ops/decode_step/op.h"

namespace cream {

// The token batch of one prefill pass: concatenated prompts, or one chunk of a prompt whose earlier
// positions are in the cache.
struct PrefillRows {
  std::vector<int64_t> tokens, positions;  // [rows]
  std::vector<int32_t> pages, slots;       // [rows]: where a row's key and value are written
  std::vector<Segment> segments;  // of a chunk: a second segment, the cached prefix, follows
  std::vector<int64_t> past;      // of a chunk: pages of the cached prefix

  int64_t size() const { return static_cast<int64_t>(tokens.size()); }
  // Adds positions first … first + count of a prompt whose pages are assigned. A chunk with first >
  // 0 starts at a page boundary and is the only one in its pass.
  void add(const Prefill& prompt, int64_t first, int64_t count);
};

class PagedPrefill : public Attention {
 public:
  PagedPrefill(const PagedCache& cache, const PrefillRows& rows);
  Tensor attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k,
                const Tensor& v) override;
  Tensor attend_joined(const AttentionLayer& layer, const ops::JoinedHeads& joined) override;

 private:
  Tensor over_keys(const AttentionLayer& layer, const Tensor& q, const Tensor& k,
                   const Tensor& v) const;
  // k (which = 0) or v (which = 1) of the rows, followed by the cached prefix: [keys, kv_heads, d].
  Tensor with_past(const AttentionLayer& layer, int64_t which, const Tensor& x) const;

  const PagedCache& cache_;
  const std::vector<Segment>& segments_;
  Tensor pages_, slots_;  // [rows] int32
  Tensor past_;           // [pages] int64; undefined without a cached prefix
};

// Row i is the last token of sequence i of `step`, at the position set by ops::advance().
class PagedDecode : public Attention {
 public:
  PagedDecode(const PagedCache& cache, const ops::DecodeStep& step, const Tensor& groups,
              int64_t max_length)
      : cache_(cache), step_(step), seen_{step.page_table, step.lengths, groups, max_length} {}
  Tensor attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k,
                const Tensor& v) override;
  Tensor attend_joined(const AttentionLayer& layer, const ops::JoinedHeads& joined) override;

 private:
  Tensor over_pages(const AttentionLayer& layer, const Tensor& q, const Tensor& cache);

  const PagedCache& cache_;
  const ops::DecodeStep& step_;
  PagedRows seen_;
  // PagedRows::plan of the step's layers, by window and softcap.
  std::map<std::pair<int64_t, double>, Tensor> plans_;
};

// Buffer bytes of decode attention for `sequences` sequences of `length` positions, in addition to
// the KV cache and the layers' activations.
uint64_t decode_buffer_bytes(const ModelConfig& config, int64_t sequences, int64_t length);

}  // namespace cream
