// Packing: sequences are concatenated without padding, and completions share the rows of their
// prompt. Scoring and training use the same packing.
#pragma once

#include <cstdint>
#include <vector>

#include "model/transformer.h"
#include "ops/attention/op.h"
#include "support/types.h"

namespace cream {

// A completion of R tokens takes R−1 rows: its last token is predicted but never an input. The
// prompt's last row predicts its first token.
class PackedBatch {
 public:
  // Returns the index of the prompt's segment.
  int32_t add_prompt(const Tokens& tokens);
  void add_completion(int32_t prompt_segment, const Tokens& tokens);

  int64_t rows() const { return static_cast<int64_t>(tokens_.size()); }
  int64_t predictions() const { return static_cast<int64_t>(targets_.size()); }
  int64_t completions() const { return static_cast<int64_t>(prediction_offsets_.size()) - 1; }
  const std::vector<Segment>& segments() const { return segments_; }
  // Completion i predicts entries prediction_offsets()[i] … [i+1]−1 of the next two tensors.
  const std::vector<int64_t>& prediction_offsets() const { return prediction_offsets_; }
  TokenBatch as_token_batch(at::Device device = at::kCPU) const;
  Tensor prediction_rows(at::Device device = at::kCPU)
      const;  // [predictions] int64, the row that predicts each target
  Tensor targets(at::Device device = at::kCPU) const;  // [predictions] int64

 private:
  std::vector<int64_t> tokens_, positions_, prediction_rows_, targets_, prediction_offsets_{0};
  std::vector<Segment> segments_;
};

// The number of rows of a prompt with these completions.
int64_t packed_rows(const Tokens& prompt, const std::vector<const Tokens*>& completions);

// Attention over a packed batch, without a KV cache.
class PackedAttention : public Attention {
 public:
  explicit PackedAttention(const std::vector<Segment>& segments) : segments_(segments) {}
  Tensor attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k,
                const Tensor& v) override;

 private:
  const std::vector<Segment>& segments_;
};

}  // namespace cream
