// Attention that fills the key/value cache on its way: whole prompts (prefill) or one new row a
// sample (decode).
#pragma once

#include <vector>

#include "generate/scheduler.h"
#include "model/transformer.h"
#include "ops/attention/op.h"

namespace cream {

// Rows are prompts one behind the other; each prompt's keys and values go to its own block, which
// must be empty and large enough.
class PrefillAttention : public Attention {
 public:
  PrefillAttention(const std::vector<Segment>& segments, std::vector<KvBlock*> blocks)
      : segments_(segments), blocks_(std::move(blocks)) {}
  Tensor attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k,
                const Tensor& v) override;

 private:
  const std::vector<Segment>& segments_;
  std::vector<KvBlock*> blocks_;  // one a segment
};

// Row i is the last token of rows[i]; its key and value go behind the sample's own, which must have
// room.
class DecodeAttention : public Attention {
 public:
  DecodeAttention(std::vector<Sequence*> rows, int64_t kv_heads);
  Tensor attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k,
                const Tensor& v) override;

 private:
  std::vector<Sequence*> rows_;
  std::vector<DecodeSource> sources_;
  int64_t kv_heads_;
};

}  // namespace cream
