// log π(y | x) = Σ_t log softmax(head · h_t)[y_t]. All completions of a prompt attend to the same
// prompt rows: a prompt of P tokens with N completions of R tokens costs P + N·(R−1) rows instead
// of N·(P+R), and the head runs on N·R of them. Token log-probs are fp32; sums are double in token
// order, so they do not depend on the cut into batches.
#include "score/scorer.h"

#include <chrono>
#include <numeric>

#include "model/check_tokens.h"
#include "model/checked_attention.h"
#include "model/packing.h"
#include "ops/linear_logprob/op.h"
#include "support/error.h"
#include "support/invariant.h"

namespace cream {

namespace {

void check_request(const ModelConfig& config, const ScoringRequest& request) {
  invariant(request.max_num_batched_tokens >= 1, "max_num_batched_tokens is below 1");
  for (size_t g = 0; g < request.groups.size(); ++g) {
    const ScoringGroup& group = request.groups[g];
    const std::string prompt = "prompt " + std::to_string(g);
    check_tokens(config, group.prompt);
    for (size_t c = 0; c < group.completions.size(); ++c) {
      const std::string completion = "completion " + std::to_string(c);
      check_tokens(config, group.completions[c]);
      check_length(config, static_cast<int64_t>(group.prompt.size() + group.completions[c].size()),
                   "[score] " + prompt + " with " + completion,
                   "shorten the prompt or the completion", -1);  // the last token is never read
    }
  }
}

// Cuts the request's completions, in order, into batches; each follows its group's prompt.
std::vector<PackedBatch> cut_batches(const ScoringRequest& request) {
  std::vector<PackedBatch> batches;
  const auto fits = [&](int64_t rows) {
    return !batches.empty() && batches.back().rows() + rows <= request.max_num_batched_tokens;
  };
  for (const ScoringGroup& group : request.groups) {
    if (group.completions.empty()) continue;
    std::vector<const Tokens*> all;
    for (const Tokens& completion : group.completions) all.push_back(&completion);
    const int64_t whole = packed_rows(group.prompt, all);
    // Groups stay whole while they fit. A group beyond the bound is cut between completions, and
    // its prompt is computed again in each batch.
    const bool cut = whole > request.max_num_batched_tokens;
    int32_t prompt = -1;
    for (const Tokens* completion : all) {
      const bool join =
          prompt < 0 ? fits(whole) : !cut || fits(static_cast<int64_t>(completion->size()) - 1);
      if (!join) batches.emplace_back();
      if (!join || prompt < 0) prompt = batches.back().add_prompt(group.prompt);
      batches.back().add_completion(prompt, *completion);
    }
  }
  return batches;
}

Tensor token_logprobs(const Transformer& model, const PackedBatch& batch, const Cancel& cancel) {
  PackedAttention packed(batch.segments());
  CheckedAttention attention(packed, [&cancel] { cancel.check(); });
  const Tensor hidden =
      model.forward(batch.as_token_batch(model.device()), attention);  // [rows, hidden]
  return ops::linear_logprob(hidden.index_select(0, batch.prediction_rows(model.device())),
                             model.weights().head, batch.targets(model.device()));
}

}  // namespace

ScoringResult score(const Transformer& model, const ScoringRequest& request,
                    const OnProgress& on_progress, const Cancel& cancel) {
  const c10::InferenceMode inference;
  const auto started = std::chrono::steady_clock::now();
  check_request(model.config(), request);
  const std::vector<PackedBatch> batches = cut_batches(request);

  Progress progress;
  for (const PackedBatch& batch : batches) progress.total += batch.completions();
  ScoringResult result;
  result.offsets.push_back(0);
  for (const PackedBatch& batch : batches) {
    cancel.check();
    const Tensor logprobs =
        token_logprobs(model, batch, cancel).cpu().contiguous();  // [predictions] fp32
    const float* values = logprobs.const_data_ptr<float>();
    const auto& offsets = batch.prediction_offsets();
    for (size_t c = 0; c + 1 < offsets.size(); ++c) {
      result.token_logprobs.insert(result.token_logprobs.end(), values + offsets[c],
                                   values + offsets[c + 1]);
      result.offsets.push_back(result.token_logprobs.size());
      result.sums.push_back(std::accumulate(values + offsets[c], values + offsets[c + 1], 0.0));
    }
    result.forward_tokens += batch.rows();
    progress.done += batch.completions();
    progress.tokens = result.forward_tokens;
    if (on_progress) on_progress(progress);
  }
  result.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  return result;
}

Tensor sequence_logits(const Transformer& model, const Tokens& tokens) {
  const c10::InferenceMode inference;
  const ModelConfig& config = model.config();
  check_tokens(config, tokens);
  check_length(config, static_cast<int64_t>(tokens.size()), "[score] the sequence", "shorten it");
  PackedBatch batch;
  batch.add_prompt(tokens);
  PackedAttention attention(batch.segments());
  return ops::linear_f32(model.forward(batch.as_token_batch(model.device()), attention),
                         model.weights().head);
}

}  // namespace cream
