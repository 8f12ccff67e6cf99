// Lets a long forward pass be aborted between two layers.
#pragma once

#include <functional>

#include "model/transformer.h"

namespace cream {

// The attention of `inner`; `check` is called before each layer's and may throw.
class CheckedAttention : public Attention {
 public:
  CheckedAttention(Attention& inner, std::function<void()> check)
      : inner_(inner), check_(std::move(check)) {}
  Tensor attend(const AttentionLayer& layer, const Tensor& q, const Tensor& k,
                const Tensor& v) override {
    check_();
    return inner_.attend(layer, q, k, v);
  }
  Tensor attend_joined(const AttentionLayer& layer, const ops::JoinedHeads& joined) override {
    check_();
    return inner_.attend_joined(layer, joined);
  }

 private:
  Attention& inner_;
  std::function<void()> check_;
};

}  // namespace cream
