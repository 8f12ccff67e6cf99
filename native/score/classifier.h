// A sequence-classification model's logits at the last token of each sequence. A reward model's
// score is such a logit.
#pragma once

#include "model/transformer.h"
#include "support/types.h"

namespace cream {

// Returns [sequences, labels], row-major. Sequences are packed without padding, so no padding token
// is needed. Throws Error{invalid_argument}.
std::vector<float> classify(const Transformer& model, const ClassificationRequest& request,
                            const Cancel& cancel);

}  // namespace cream
