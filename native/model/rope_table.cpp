// Frequencies f_i = θ^(−2i/d) and their scaling:
//   linear    f / factor (Chen et al. 2023)
//   dynamic   f up to max_position_embeddings, the engine's limit (NTK-aware scaling begins beyond)
//   llama3    f / factor for wavelengths above original / low_freq_factor, f below
//             original / high_freq_factor, blended between
//   yarn      f / factor and f, blended over the pairs that rotate beta_slow … beta_fast times in
//             the original context (Peng et al. 2023)
//   longrope  f / short_factor_i up to the original context, the engine's limit (Ding et al. 2024)
// yarn and longrope also multiply cos and sin by an attention factor. The numbers are those of
// transformers' modeling_rope_utils.
#include "model/rope_table.h"

#include <algorithm>
#include <cmath>

namespace cream {

namespace {

constexpr double kPi = 3.14159265358979323846;

Tensor llama3(const RopeConfig& rope, const Tensor& frequencies) {
  const double original = static_cast<double>(rope.original_max_position_embeddings);
  const Tensor wavelength = frequencies.reciprocal() * (2 * kPi);
  const Tensor slow = at::where(wavelength > original / rope.low_freq_factor,
                                frequencies / rope.factor, frequencies);
  const Tensor smooth = (wavelength.reciprocal() * original - rope.low_freq_factor) /
                        (rope.high_freq_factor - rope.low_freq_factor);
  const Tensor blended = (1 - smooth) * slow / rope.factor + smooth * slow;
  const Tensor between = (wavelength >= original / rope.high_freq_factor)
                             .logical_and(wavelength <= original / rope.low_freq_factor);
  return at::where(between, blended, slow);
}

double yarn_factor(const RopeConfig& rope, const ModelConfig& config) {
  return rope.factor > 0 ? rope.factor
                         : static_cast<double>(config.max_position_embeddings) /
                               static_cast<double>(rope.original_max_position_embeddings);
}

Tensor yarn(const RopeConfig& rope, const ModelConfig& config, const Tensor& frequencies) {
  const int64_t pairs = frequencies.size(0);
  const double dim = 2.0 * static_cast<double>(pairs),
               original = static_cast<double>(rope.original_max_position_embeddings);
  // The pair that rotates this often over the original context.
  const auto pair_of = [&](double rotations) {
    return dim * std::log(original / (rotations * 2 * kPi)) / (2 * std::log(rope.theta));
  };
  double low = pair_of(rope.beta_fast > 0 ? rope.beta_fast : 32),
         high = pair_of(rope.beta_slow > 0 ? rope.beta_slow : 1);
  if (rope.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  const Tensor kept =
      1 - ((at::arange(pairs, frequencies.options()) - low) / (high - low)).clamp(0, 1);
  return frequencies / yarn_factor(rope, config) * (1 - kept) + frequencies * kept;
}

double attention_factor(const RopeConfig& rope, const ModelConfig& config) {
  if (rope.attention_factor > 0) return rope.attention_factor;
  if (rope.type == "yarn") {
    const double factor = yarn_factor(rope, config);
    const auto scale = [&](double mscale) {
      return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
    };
    return rope.mscale > 0 && rope.mscale_all_dim > 0
               ? scale(rope.mscale) / scale(rope.mscale_all_dim)
               : scale(1);
  }
  if (rope.type == "longrope") {
    const double original = static_cast<double>(rope.original_max_position_embeddings);
    const double factor = rope.factor > 0
                              ? rope.factor
                              : static_cast<double>(config.max_position_embeddings) / original;
    return factor <= 1 ? 1.0 : std::sqrt(1 + std::log(factor) / std::log(original));
  }
  return 1;
}

// [rotary_dim / 2]
Tensor frequencies_of(const RopeConfig& rope, const ModelConfig& config) {
  const int64_t rotary_dim = rope.rotary_dim(config.head_dim);
  const auto f32 = at::TensorOptions().dtype(at::kFloat);
  const Tensor exponent = at::arange(0, rotary_dim, 2, f32).div(static_cast<double>(rotary_dim));
  const Tensor powers = at::pow(at::Scalar(rope.theta), exponent),
               frequencies = powers.reciprocal();
  if (rope.type == "linear") return frequencies / rope.factor;
  if (rope.type == "llama3") return llama3(rope, frequencies);
  if (rope.type == "yarn") return yarn(rope, config, frequencies);
  if (rope.type == "longrope")
    return (powers * at::tensor(at::ArrayRef<double>(rope.short_factor), f32)).reciprocal();
  return frequencies;
}

}  // namespace

Tensor make_query_scale(const RopeConfig& rope, int64_t positions) {
  const Tensor lengths = at::arange(positions, at::kFloat)
                             .div_(static_cast<double>(rope.original_max_position_embeddings))
                             .floor_();
  return lengths.add_(1).log_().mul_(rope.llama_4_scaling_beta).add_(1).unsqueeze(1);
}

RopeTable make_rope_table(const RopeConfig& rope, const ModelConfig& config, int64_t positions) {
  const Tensor angles = at::outer(at::arange(positions, at::kFloat),
                                  frequencies_of(rope, config));  // [positions, rotary_dim / 2]
  const Tensor both = at::cat({angles, angles}, 1);
  const double factor = attention_factor(rope, config);
  if (factor == 1) return {both.cos(), both.sin()};
  return {both.cos().mul_(factor), both.sin().mul_(factor)};
}

}  // namespace cream
