// Attention over a packed batch with a backward pass of its own.
#pragma once

#include <vector>

#include "model/packing.h"
#include "model/transformer.h"

namespace cream {

// `segments` must outlive the autograd graph that attend() builds. A prompt's completions follow it
// directly, as in PackedBatch.
class TrainingAttention : public Attention {
 public:
  explicit TrainingAttention(const std::vector<Segment>& segments) : segments_(segments) {}
  Tensor attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k,
                const Tensor& v) override;

 private:
  const std::vector<Segment>& segments_;
};

}  // namespace cream
