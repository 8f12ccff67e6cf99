// The consistency-regularised DPO loss (CREAM, arXiv 2410.12735, eq. 5–7) on scalars; shared by
// host and device code.
//
//   z = β·[(log π(chosen) − log π_ref(chosen)) − (log π(rejected) − log π_ref(rejected))]
//   L = C·(−log σ(z)) + (1 − C)·(−log σ(−z))
//   dL/dz = σ(z) − C
//
// Equivalent to conservative DPO with label smoothing 1 − C.
//
// SRLM + KL adds a penalty that keeps the policy near θ_0, Schulman's k2 estimator ("Approximating
// KL Divergence", 2020):
//   k2(y) = ½·(log π(y) − log π_0(y))², averaged over chosen and rejected; dk2/dlog π = log π − log
//   π_0
// For y ~ π its gradient is that of KL(π ‖ π_0).
#pragma once

#include <cmath>

#include "support/random.h"  // CREAM_HOST_DEVICE

namespace cream {

struct PreferenceTerm {
  double loss;
  double dlogp_chosen;                    // dL/d log π(chosen) = −dL/d log π(rejected)
  double reward_chosen, reward_rejected;  // β·(log π − log π_ref)
};

CREAM_HOST_DEVICE inline double softplus(double x) {
  return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
}

CREAM_HOST_DEVICE inline PreferenceTerm preference_term(double logp_chosen, double logp_rejected,
                                                        double reference_chosen,
                                                        double reference_rejected, double beta,
                                                        double weight) {
  const double reward_chosen = beta * (logp_chosen - reference_chosen);
  const double reward_rejected = beta * (logp_rejected - reference_rejected);
  const double z = reward_chosen - reward_rejected;
  const double sigma = z >= 0 ? 1.0 / (1.0 + std::exp(-z)) : std::exp(z) / (1.0 + std::exp(z));
  return {weight * softplus(-z) + (1.0 - weight) * softplus(z), beta * (sigma - weight),
          reward_chosen, reward_rejected};
}

struct KlTerm {
  double value;  // nats
  double dlogp_chosen, dlogp_rejected;
};

CREAM_HOST_DEVICE inline KlTerm kl_term(double logp_chosen, double logp_rejected,
                                        double base_chosen, double base_rejected) {
  const double chosen = logp_chosen - base_chosen, rejected = logp_rejected - base_rejected;
  return {0.25 * (chosen * chosen + rejected * rejected), 0.5 * chosen, 0.5 * rejected};
}

}  // namespace cream
