// Requests with prompts of unequal lengths, and their completions.
#pragma once

#include <algorithm>

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
  for (uint32_t i = 0; i <= vocab; ++i) request.token_byte_offsets.push_back(i);
  for (uint32_t i = 0; i < vocab; ++i)
    request.token_bytes.push_back(static_cast<uint8_t>('a' + i % 26));
}

}  // namespace check
