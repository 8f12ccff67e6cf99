// A sequence-classification model's logits at the last token of each sequence: what reward models
// return.
#pragma once

#include "model/transformer.h"
#include "support/types.h"

namespace cream {

// [sequences, labels], row-major. Sequences are packed, none padded, so no token stands for
// padding. Throws Error{invalid_argument}.
std::vector<float> classify(const Transformer& model, const ClassificationRequest& request,
                            const Cancel& cancel);

}  // namespace cream
