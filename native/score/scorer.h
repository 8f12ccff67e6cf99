// log π(completion | prompt): packed, each prompt computed once for all of its completions, head on
// completion tokens only.
#pragma once

#include "model/transformer.h"
#include "support/types.h"

namespace cream {

// Batches are cut in request order by max_num_batched_tokens, so the same request always runs in
// the same shapes.
ScoringResult score(const Transformer& model, const ScoringRequest& request,
                    const OnProgress& on_progress, const Cancel& cancel);

// Logits of every row of one sequence, [tokens, vocab] fp32: for oracles and small sequences.
Tensor sequence_logits(const Transformer& model, const Tokens& tokens);

}  // namespace cream
