// Continuous batching over one model: prompts are prefilled once, their samples decode together,
// finished rows are replaced at once.
#pragma once

#include <functional>
#include <memory>

#include "model/transformer.h"
#include "support/types.h"

namespace cream {

struct GenerationCallbacks {
  std::function<void(GeneratedCompletion&&)> on_completion;     // in order of completion
  std::function<void(std::vector<StreamedToken>&&)> on_tokens;  // one call a step, if stream_tokens
  OnProgress on_progress;
};

// Runs on the model's worker thread. Throws Error; completions delivered before stay delivered.
// A prompt as long as the context or longer is refused before any work starts, by its index.
GenerationStats generate(const Transformer& model, const GenerationRequest& request,
                         const GenerationCallbacks& callbacks, const Cancel& cancel);

}  // namespace cream
