// Attention that fills the pages of a device's cache on its way: whole prompts (prefill) or one new row a sample (decode).
#pragma once

#include <vector>

#include "model/paged_cache.h"
#include "model/transformer.h"
#include "ops/attention/paged.h"
#include "ops/decode_rows/op.h"

namespace cream {

// Rows are prompts one behind the other; row r's key and value go to slot slots[r] of page pages[r].
class PagedPrefill : public Attention {
 public:
  PagedPrefill(const PagedCache& cache, const std::vector<Segment>& segments, Tensor pages, Tensor slots)
      : cache_(cache), segments_(segments), pages_(std::move(pages)), slots_(std::move(slots)) {}
  Tensor attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k, const Tensor& v) override;

 private:
  const PagedCache& cache_;
  const std::vector<Segment>& segments_;
  Tensor pages_, slots_;  // [rows] int32
};

// Row i is the last token of rows' sample i, as ops::advance() has placed it.
class PagedDecode : public Attention {
 public:
  PagedDecode(const PagedCache& cache, const ops::DecodeRows& rows, const Tensor& groups, int64_t max_length)
      : cache_(cache), rows_(rows), seen_{rows.page_table, rows.lengths, groups, max_length} {}
  Tensor attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k, const Tensor& v) override;

 private:
  const PagedCache& cache_;
  const ops::DecodeRows& rows_;
  PagedRows seen_;
};

}  // namespace cream
