// Continuous batching over one model: prompts are prefilled once, their sequences decode together,
// and finished sequences are replaced at once.
#pragma once

#include <functional>
#include <memory>

#include "model/transformer.h"
#include "support/types.h"

namespace cream {

struct GenerationCallbacks {
  std::function<void(GeneratedCompletion&&)> on_completion;  // in order of completion
  std::function<void(std::vector<StreamedToken>&&)>
      on_tokens;  // one call per step, if stream_tokens
  OnProgress on_progress;
};

// Runs on the model's worker thread. Throws Error; completions delivered before that remain valid.
// A prompt that fills the context or exceeds it is refused before any work; the error names its
// index.
GenerationStats generate(const Transformer& model, const GenerationRequest& request,
                         const GenerationCallbacks& callbacks, const Cancel& cancel);

}  // namespace cream
