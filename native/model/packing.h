// Sequences laid one behind the other as rows, completions sharing their prompt's rows. Scoring and
// training use the same packing.
#pragma once

#include <cstdint>
#include <vector>

#include "model/transformer.h"
#include "ops/attention/op.h"
#include "support/types.h"

namespace cream {

// A completion of R tokens needs R−1 rows of its own: its last token is predicted, never read.
// Its predictions are made by the prompt's last row and then by its own rows.
class PackedBatch {
 public:
  // Returns the index of the prompt's segment.
  int32_t add_prompt(const Tokens& tokens);
  void add_completion(int32_t prompt_segment, const Tokens& tokens);

  int64_t rows() const { return static_cast<int64_t>(tokens_.size()); }
  int64_t predictions() const { return static_cast<int64_t>(targets_.size()); }
  int64_t completions() const { return static_cast<int64_t>(prediction_offsets_.size()) - 1; }
  const std::vector<Segment>& segments() const { return segments_; }
  // Completion i predicts entries prediction_offsets()[i] … [i+1] of the next two.
  const std::vector<int64_t>& prediction_offsets() const { return prediction_offsets_; }
  TokenBatch as_token_batch(at::Device device = at::kCPU) const;
  Tensor prediction_rows(at::Device device = at::kCPU)
      const;  // [predictions] int64, the row that predicts each target
  Tensor targets(at::Device device = at::kCPU) const;  // [predictions] int64

 private:
  std::vector<int64_t> tokens_, positions_, prediction_rows_, targets_, prediction_offsets_{0};
  std::vector<Segment> segments_;
};

// Rows a prompt with these completions takes.
int64_t packed_rows(const Tokens& prompt, const std::vector<const Tokens*>& completions);

// Attention over a packed batch, without a cache.
class PackedAttention : public Attention {
 public:
  explicit PackedAttention(const std::vector<Segment>& segments) : segments_(segments) {}
  Tensor attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k,
                const Tensor& v) override;

 private:
  const std::vector<Segment>& segments_;
};

}  // namespace cream
