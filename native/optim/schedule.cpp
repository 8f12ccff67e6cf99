// Linear warm-up from 0, then constant, linear to 0, or half a cosine to 0: the three lambdas of
// transformers/optimization.py. With warmup_from_first_step, step s of W warm-up steps, from 0, has
// (s + 1) / (W + 1) of the peak instead of s / W.
#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace cream {

double learning_rate_at(const OptimizerParams& params, int64_t step) {
  const auto ratio = [](int64_t a, int64_t b) {
    return static_cast<double>(a) / static_cast<double>(std::max<int64_t>(1, b));
  };
  if (step < params.warmup_steps) {
    const int64_t shift = params.warmup_from_first_step ? 1 : 0;
    return params.learning_rate * ratio(step + shift, params.warmup_steps + shift);
  }
  const int64_t decay_steps = params.total_steps - params.warmup_steps;
  switch (params.schedule) {
    case Schedule::constant:
      return params.learning_rate;
    case Schedule::linear:
      return params.learning_rate * std::max(0.0, ratio(params.total_steps - step, decay_steps));
    case Schedule::cosine: {
      const double progress = ratio(step - params.warmup_steps, decay_steps);
      // Beyond total_steps transformers' cosine rises again; here it stays at 0.
      if (progress >= 1) return 0;
      return params.learning_rate * 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
    }
  }
  return params.learning_rate;
}

}  // namespace cream
