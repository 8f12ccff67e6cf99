// Requests with prompts of unequal lengths, and their completions.
#pragma once

#include <algorithm>
#include <future>

#include "engine/engine.h"
#include "generate/generator.h"
#include "tiny_model.h"

namespace check {

// Runs a request with generate(callbacks) → its completions by prompt, then sample.
template <class Generate>
std::vector<cream::GeneratedCompletion> completions(const Generate& generate) {
  std::vector<cream::GeneratedCompletion> out;
  cream::GenerationCallbacks callbacks;
  callbacks.on_completion = [&](cream::GeneratedCompletion&& completion) {
    out.push_back(std::move(completion));
  };
  generate(callbacks);
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) {
    return a.prompt_index != b.prompt_index ? a.prompt_index < b.prompt_index : a.sample < b.sample;
  });
  return out;
}

// Posts a request to the engine's worker → how it ended; rethrows the error that ended it.
inline std::future<cream::GenerationEnd> generated(
    cream::Engine& engine, const cream::GenerationRequest& request,
    cream::GenerationCallbacks callbacks = {},
    std::shared_ptr<const cream::Cancel> cancel = std::make_shared<cream::Cancel>()) {
  auto ended = std::make_shared<std::promise<cream::GenerationEnd>>();
  callbacks.on_end = [ended](const cream::GenerationEnd& end) {
    end.error ? ended->set_exception(end.error) : ended->set_value(end);
  };
  engine.post_joining([&engine, request, callbacks,
                       cancel] { engine.begin_generation(request, callbacks, cancel); },
                      [ended](const cream::Error* error) {
                        ended->set_exception(std::make_exception_ptr(*error));
                      });
  return ended->get_future();
}

// Requests a cancel on every completion, and counts the completions.
inline cream::GenerationCallbacks cancelling(cream::Cancel& cancel, int& completions) {
  cream::GenerationCallbacks callbacks;
  callbacks.on_completion = [&](cream::GeneratedCompletion&&) {
    ++completions;
    cancel.request();
  };
  return callbacks;
}

struct RaggedShape {
  std::vector<int64_t> lengths;
  uint32_t samples = 1;
  int64_t max_new_tokens = 12;
  cream::TokenId vocab = 96;
};

inline cream::GenerationRequest ragged_request(const RaggedShape& shape) {
  cream::GenerationRequest request;
  for (uint64_t p = 0; p < shape.lengths.size(); ++p) {
    request.prompts.push_back({tiny_tokens(shape.lengths[p], p), 1000 + p, shape.samples, 0});
    for (cream::TokenId& token : request.prompts.back().tokens) token %= shape.vocab;
  }
  request.sampling.max_new_tokens = shape.max_new_tokens;
  request.sampling.stop_ids = {7, 11};
  request.seed = 42;
  return request;
}

// Token table in which token i is the byte 'a' + i % 26.
inline void spell(cream::GenerationRequest& request, uint32_t vocab = 96) {
  cream::TokenBytes table;
  for (uint32_t i = 0; i <= vocab; ++i) table.offsets.push_back(i);
  for (uint32_t i = 0; i < vocab; ++i) table.bytes.push_back(static_cast<uint8_t>('a' + i % 26));
  request.token_bytes = std::make_shared<const cream::TokenBytes>(std::move(table));
}

}  // namespace check
