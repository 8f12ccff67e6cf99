// Attention that fills the pages of a device's cache on its way: prompts (prefill) or one new row a
// sample (decode).
#pragma once

#include <vector>

#include "generate/scheduler.h"
#include "model/paged_cache.h"
#include "model/transformer.h"
#include "ops/attention/paged.h"
#include "ops/decode_step/op.h"

namespace cream {

// The rows of one prefill pass: prompts one behind the other, or a piece of one, whose positions
// before it are in the cache.
struct PrefillRows {
  std::vector<int64_t> tokens, positions;  // [rows]
  std::vector<int32_t> pages, slots;       // [rows]: where a row's key and value go
  std::vector<Segment> segments;           // of a piece: behind the rows the keys before it
  std::vector<int64_t> past;               // of a piece: the pages of these keys

  int64_t size() const { return static_cast<int64_t>(tokens.size()); }
  // Positions first … of a prompt that has its pages; a piece (first > 0, at a page's start) goes
  // alone.
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
  // k or v (0, 1) of the rows and behind them of the positions before: [keys, kv_heads, d].
  Tensor with_past(const AttentionLayer& layer, int64_t which, const Tensor& x) const;

  const PagedCache& cache_;
  const std::vector<Segment>& segments_;
  Tensor pages_, slots_;  // [rows] int32
  Tensor past_;           // [pages] int64; undefined: none
};

// Row i is the last token of rows' sample i, as ops::advance() has placed it.
class PagedDecode : public Attention {
 public:
  PagedDecode(const PagedCache& cache, const ops::DecodeStep& rows, const Tensor& groups,
              int64_t max_length)
      : cache_(cache), rows_(rows), seen_{rows.page_table, rows.lengths, groups, max_length} {}
  Tensor attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k,
                const Tensor& v) override;
  Tensor attend_joined(const AttentionLayer& layer, const ops::JoinedHeads& joined) override;

 private:
  const PagedCache& cache_;
  const ops::DecodeStep& rows_;
  PagedRows seen_;
};

// What a decode step of rows of this length needs besides the cache and the layers' activations.
uint64_t decode_room_bytes(const ModelConfig& config, int64_t rows, int64_t length);

}  // namespace cream
