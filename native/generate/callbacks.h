// The results that a request delivers while it is generated, as plain structs without tensors.
#pragma once

#include <exception>
#include <functional>
#include <vector>

#include "support/types.h"

namespace cream {

struct GenerationEnd {
  GenerationStats stats;  // seconds: the steps that the request took part in, alone or with others
  // Numbers in the count of decode steps since the model was loaded, over all requests: the steps
  // done when the request's first sequence entered, and its last step.
  uint64_t first_step = 0, last_step = 0;
  std::exception_ptr error;  // null if all completions were delivered
};

// All are called on the model's worker thread.
struct GenerationCallbacks {
  std::function<void(GeneratedCompletion&&)> on_completion;     // in order of completion
  std::function<void(std::vector<StreamedToken>&&)> on_tokens;  // per step, if stream_tokens
  OnProgress on_progress;
  std::function<void(const GenerationEnd&)> on_end;  // once, after all others
};

}  // namespace cream
