// Attention that writes the KV cache: whole prompts (prefill) or one new token per sequence
// (decode).
#pragma once

#include <vector>

#include "generate/sequence.h"
#include "model/transformer.h"
#include "ops/attention/op.h"

namespace cream {

// The token batch is concatenated prompts. Each prompt's keys and values are written to its own
// block, which must be empty and large enough.
class PrefillAttention : public Attention {
 public:
  PrefillAttention(const std::vector<Segment>& segments, std::vector<KvBlock*> blocks)
      : segments_(segments), blocks_(std::move(blocks)) {}
  Tensor attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k,
                const Tensor& v) override;

 private:
  const std::vector<Segment>& segments_;
  std::vector<KvBlock*> blocks_;  // one per segment
};

// Row i is the last token of sequences[i]. Its key and value are appended to the sequence's own
// block, whose capacity must suffice.
class DecodeAttention : public Attention {
 public:
  DecodeAttention(std::vector<Sequence*> sequences, int64_t kv_heads);
  Tensor attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k,
                const Tensor& v) override;

 private:
  std::vector<Sequence*> sequences_;
  std::vector<DecodeSource> sources_;
  int64_t kv_heads_;
};

}  // namespace cream
