// log π(completion | prompt). Sequences are packed, each prompt is computed once for all its
// completions, and the head runs on completion tokens only.
#pragma once

#include "model/transformer.h"
#include "support/types.h"

namespace cream {

// Batches are cut in request order at max_num_batched_tokens, so equal requests run in equal
// shapes.
ScoringResult score(const Transformer& model, const ScoringRequest& request,
                    const OnProgress& on_progress, const Cancel& cancel);

// Logits of every token of one sequence, [tokens, vocab] fp32; meant for short sequences.
Tensor sequence_logits(const Transformer& model, const Tokens& tokens);

}  // namespace cream
