#include "model/packing.h"

namespace cream {

int32_t PackedBatch::add_prompt(const Tokens& tokens) {
  segments_.push_back({rows(), static_cast<int64_t>(tokens.size()), -1});
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens_.push_back(tokens[i]);
    positions_.push_back(static_cast<int64_t>(i));
  }
  return static_cast<int32_t>(segments_.size()) - 1;
}

void PackedBatch::add_completion(int32_t prompt_segment, const Tokens& tokens) {
  const Segment prompt = segments_[prompt_segment];
  const int64_t own_rows = static_cast<int64_t>(tokens.size()) - 1;
  int64_t predicting =
      prompt.start + prompt.length - 1;  // the prompt's last row predicts the first token
  if (own_rows > 0) segments_.push_back({rows(), own_rows, prompt_segment});
  for (int64_t i = 0; i <= own_rows; ++i) {
    prediction_rows_.push_back(predicting);
    targets_.push_back(tokens[i]);
    if (i == own_rows) break;
    predicting = rows();
    tokens_.push_back(tokens[i]);
    positions_.push_back(prompt.length + i);
  }
  prediction_offsets_.push_back(predictions());
}

static Tensor as_tensor(const std::vector<int64_t>& values, at::Device device) {
  return at::tensor(at::ArrayRef<int64_t>(values),
                    at::TensorOptions().dtype(at::kLong).device(device));
}

TokenBatch PackedBatch::as_token_batch(at::Device device) const {
  return {as_tensor(tokens_, device), as_tensor(positions_, device)};
}
Tensor PackedBatch::prediction_rows(at::Device device) const {
  return as_tensor(prediction_rows_, device);
}
Tensor PackedBatch::targets(at::Device device) const { return as_tensor(targets_, device); }

int64_t packed_rows(const Tokens& prompt, const std::vector<const Tokens*>& completions) {
  int64_t rows = static_cast<int64_t>(prompt.size());
  for (const Tokens* completion : completions) rows += static_cast<int64_t>(completion->size()) - 1;
  return rows;
}

Tensor PackedAttention::attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k,
                               const Tensor& v) {
  return ops::packed_attention(q, k, v, segments_, layer.kind);
}

}  // namespace cream
