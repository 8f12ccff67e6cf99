#include "score/classifier.h"

#include "model/check_tokens.h"
#include "model/checked_attention.h"
#include "model/packing.h"
#include "support/error.h"
#include "support/invariant.h"

namespace cream {

namespace {

void check_request(const ModelConfig& config, const ClassificationRequest& request) {
  invariant(request.max_num_batched_tokens >= 1, "max_num_batched_tokens is below 1");
  for (size_t i = 0; i < request.sequences.size(); ++i) {
    const std::string sequence = "[classify] sequence " + std::to_string(i);
    check_tokens(config, request.sequences[i]);
    check_length(config, static_cast<int64_t>(request.sequences[i].size()), sequence, "shorten it");
  }
}

// The logits of a batch's sequences, appended.
void append_logits(const Transformer& model, const PackedBatch& batch, const Cancel& cancel,
                   std::vector<float>& logits) {
  std::vector<int64_t> last;
  for (const Segment& segment : batch.segments())
    last.push_back(segment.start + segment.length - 1);
  PackedAttention packed(batch.segments());
  CheckedAttention attention(packed, [&cancel] { cancel.check(); });
  const Tensor index = at::tensor(at::ArrayRef<int64_t>(last),
                                  at::TensorOptions().dtype(at::kLong).device(model.device()));
  const Tensor hidden =
      model.forward(batch.as_token_batch(model.device()), attention).index_select(0, index);
  const Tensor rows =
      ops::linear_f32(hidden, model.weights().head).cpu().contiguous();  // [sequences, labels]
  const float* values = rows.const_data_ptr<float>();
  logits.insert(logits.end(), values, values + rows.numel());
}

}  // namespace

std::vector<float> classify(const Transformer& model, const ClassificationRequest& request,
                            const Cancel& cancel) {
  const c10::InferenceMode inference;
  check_request(model.config(), request);
  std::vector<float> logits;
  for (size_t next = 0; next < request.sequences.size();) {
    cancel.check();
    PackedBatch batch;
    do {
      batch.add_prompt(request.sequences[next++]);
    } while (next < request.sequences.size() &&
             batch.rows() + static_cast<int64_t>(request.sequences[next].size()) <=
                 request.max_num_batched_tokens);
    append_logits(model, batch, cancel, logits);
  }
  return logits;
}

}  // namespace cream
