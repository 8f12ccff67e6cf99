// The preference losses on scalars; shared by host and device code. Each is regularised by the
// consistency C (CREAM, arXiv 2410.12735, eq. 5–7): C times the loss of chosen over rejected plus
// 1 − C times the same loss with the roles reversed.
//
//   r(y) = log π(y) − log π_ref(y), |y| in tokens
//   dpo     z = β·[r(chosen) − r(rejected)];  L = C·(−log σ(z)) + (1 − C)·(−log σ(−z))
//           Conservative DPO with label smoothing 1 − C (Rafailov et al., arXiv 2305.18290, eq. 7).
//   robust  [(1 − ε)·L(C) − ε·L(1 − C)] / (1 − 2ε) of dpo's L, which is dpo's L with
//           C' = (C − ε) / (1 − 2ε) (rDPO, Chowdhury et al., arXiv 2403.00409).
//   ipo     h = r(chosen) / |chosen| − r(rejected) / |rejected|
//           L = C·(h − 1/2β)² + (1 − C)·(h + 1/2β)² (Azar et al., arXiv 2310.12036, eq. 17; the
//           means per token are TRL's, confirmed there by the authors).
//   simpo   z = β·[log π(chosen) / |chosen| − log π(rejected) / |rejected|], without a reference
//           L = C·(−log σ(z − γ)) + (1 − C)·(−log σ(−z − γ)) (Meng et al., arXiv 2405.14734, eq. 6)
//   kto     u(y) = β·(r(y) − z_0), z_0 ≥ 0 the step's estimate of KL(π ‖ π_ref), a constant
//           L = the mean over both completions of 1 − σ(u) where the completion is desirable and
//           1 − σ(−u) where it is not; chosen is desirable with C, rejected with 1 − C
//           (Ethayarajh et al., arXiv 2402.01306, eq. 7, λ_D = λ_U = 1).
//
// SRLM + KL adds a penalty that keeps the policy near θ_0, Schulman's k2 estimator ("Approximating
// KL Divergence", 2020):
//   k2(y) = ½·(log π(y) − log π_0(y))², averaged over chosen and rejected; dk2/dlog π = log π − log
//   π_0
// For y ~ π its gradient is that of KL(π ‖ π_0).
#pragma once

#include <cmath>

#include "support/random.h"  // CREAM_HOST_DEVICE
#include "support/types.h"

namespace cream {

// One pair: summed log-probs and numbers of tokens.
struct PairScores {
  double logp_chosen, logp_rejected;
  double reference_chosen, reference_rejected;
  double tokens_chosen, tokens_rejected;
  double weight;       // C
  double kl_baseline;  // KTO's z_0
};

struct PreferenceTerm {
  double loss;
  double dlogp_chosen, dlogp_rejected;    // dL/d log π(chosen), dL/d log π(rejected)
  double reward_chosen, reward_rejected;  // β·(log π − log π_ref); SimPO: β·log π / |y|
};

CREAM_HOST_DEVICE inline double softplus(double x) {
  return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
}

CREAM_HOST_DEVICE inline double sigmoid(double x) {
  return x >= 0 ? 1.0 / (1.0 + std::exp(-x)) : std::exp(x) / (1.0 + std::exp(x));
}

// A loss of one margin and its derivative.
struct MarginLoss {
  double loss, slope;
};

CREAM_HOST_DEVICE inline MarginLoss logistic_loss(double z, double weight) {
  return {weight * softplus(-z) + (1.0 - weight) * softplus(z), sigmoid(z) - weight};
}

CREAM_HOST_DEVICE inline MarginLoss simpo_loss(double z, double gamma, double weight) {
  return {weight * softplus(gamma - z) + (1.0 - weight) * softplus(z + gamma),
          (1.0 - weight) * sigmoid(z + gamma) - weight * sigmoid(gamma - z)};
}

CREAM_HOST_DEVICE inline MarginLoss ipo_loss(double h, double beta, double weight) {
  const double target = 0.5 / beta, over = h - target, under = h + target;
  return {weight * over * over + (1.0 - weight) * under * under,
          2.0 * (weight * over + (1.0 - weight) * under)};
}

// 1 − σ(u) of a completion that is desirable with probability `weight`, and d/du.
CREAM_HOST_DEVICE inline MarginLoss kto_loss(double u, double weight) {
  const double sigma = sigmoid(u), other = sigmoid(-u);
  return {weight * other + (1.0 - weight) * sigma, (1.0 - 2.0 * weight) * sigma * other};
}

CREAM_HOST_DEVICE inline PreferenceTerm kto_term(const PairScores& p, double beta,
                                                 double reward_chosen, double reward_rejected) {
  const double baseline = beta * p.kl_baseline;
  const MarginLoss chosen = kto_loss(reward_chosen - baseline, p.weight);
  const MarginLoss rejected = kto_loss(reward_rejected - baseline, 1.0 - p.weight);
  return {0.5 * (chosen.loss + rejected.loss), 0.5 * beta * chosen.slope,
          0.5 * beta * rejected.slope, reward_chosen, reward_rejected};
}

CREAM_HOST_DEVICE inline PreferenceTerm preference_term(const PairScores& p,
                                                        const PreferenceLoss& loss) {
  const double beta = loss.beta;
  const double ratio_chosen = p.logp_chosen - p.reference_chosen;
  const double ratio_rejected = p.logp_rejected - p.reference_rejected;
  const double reward_chosen = beta * ratio_chosen, reward_rejected = beta * ratio_rejected;
  switch (loss.kind) {
    case LossKind::ipo: {
      const MarginLoss l = ipo_loss(
          ratio_chosen / p.tokens_chosen - ratio_rejected / p.tokens_rejected, beta, p.weight);
      return {l.loss, l.slope / p.tokens_chosen, -l.slope / p.tokens_rejected, reward_chosen,
              reward_rejected};
    }
    case LossKind::simpo: {
      const double chosen = beta * (p.logp_chosen / p.tokens_chosen);
      const double rejected = beta * (p.logp_rejected / p.tokens_rejected);
      const MarginLoss l = simpo_loss(chosen - rejected, loss.simpo_gamma, p.weight);
      return {l.loss, beta * l.slope / p.tokens_chosen, -beta * l.slope / p.tokens_rejected, chosen,
              rejected};
    }
    case LossKind::kto:
      return kto_term(p, beta, reward_chosen, reward_rejected);
    case LossKind::dpo:
    case LossKind::robust:
      break;
  }
  const double flipped = loss.kind == LossKind::robust ? loss.label_smoothing : 0;
  const MarginLoss l =
      logistic_loss(reward_chosen - reward_rejected, (p.weight - flipped) / (1.0 - 2.0 * flipped));
  const double slope = beta * l.slope;
  return {l.loss, slope, -slope, reward_chosen, reward_rejected};
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
