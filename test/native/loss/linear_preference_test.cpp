#include <map>
#include <set>

#include "check.h"
#include "fast_ops.h"
#include "golden.h"
#include "loss/linear_preference.h"
#include "loss/preference.h"
#include "ops/dispatch.h"
#include "ops/token_logprob/op.h"
#include "trainer_params.h"

using namespace cream;

namespace {

constexpr int64_t kVocab = 203, kHidden = 48;  // the vocabulary is no multiple of 16
constexpr double kBeta = 0.3;

struct Problem {
  Tensor hidden, weight, targets;
  std::vector<PairRows> pairs;
  PreferenceLoss loss{LossKind::dpo, kBeta};
};

// One pair per entry of `lengths`: numbers of chosen and rejected rows.
Problem problem(const std::vector<std::pair<int64_t, int64_t>>& lengths, double consistency,
                at::ScalarType dtype = at::kFloat) {
  at::manual_seed(11);
  Problem p;
  int64_t rows = 0;
  for (const auto& [chosen, rejected] : lengths) {
    const double noise = static_cast<double>(p.pairs.size());
    p.pairs.push_back({rows, rows + chosen, rows + chosen, rows + chosen + rejected,
                       -5.0 * chosen + noise, -5.0 * rejected - noise, consistency,
                       1.0 / static_cast<double>(lengths.size()), -5.3 * chosen - noise,
                       -5.1 * rejected + noise, 0.4 + noise});
    rows += chosen + rejected;
  }
  p.hidden = at::randn({rows, kHidden}).to(dtype);
  p.weight = (at::randn({kVocab, kHidden}) * 0.3).to(dtype);
  p.targets = at::randint(kVocab, {rows}, at::kLong);
  return p;
}

// One completion of a pair for the plain formulas.
struct Side {
  Tensor logp;
  double reference, tokens;
  Tensor ratio() const { return logp - reference; }
};

// The loss of `better` over `worse` as its paper writes it, without C.
Tensor plain_loss(const Side& better, const Side& worse, const PreferenceLoss& loss,
                  double kl_baseline) {
  const Tensor z = (better.ratio() - worse.ratio()) * loss.beta;
  const double e = loss.label_smoothing;
  switch (loss.kind) {
    case LossKind::dpo:
      return -at::log_sigmoid(z);
    case LossKind::robust:
      return (-at::log_sigmoid(z) * (1 - e) + at::log_sigmoid(-z) * e) / (1 - 2 * e);
    case LossKind::ipo:
      return (better.ratio() / better.tokens - worse.ratio() / worse.tokens - 1 / (2 * loss.beta))
          .square();
    case LossKind::simpo:
      return -at::log_sigmoid(
          (better.logp / better.tokens - worse.logp / worse.tokens) * loss.beta - loss.simpo_gamma);
    case LossKind::kto:
      return (1 - at::sigmoid((better.ratio() - kl_baseline) * loss.beta) + 1 -
              at::sigmoid((kl_baseline - worse.ratio()) * loss.beta)) /
             2;
  }
  return {};
}

// The plain formula, differentiated by autograd, in fp64.
struct Plain {
  double loss;
  Tensor d_hidden, d_head, logps;
};
Plain plain(const Problem& p) {
  const at::AutoGradMode grad(true);
  const Tensor hidden = p.hidden.to(at::kDouble).set_requires_grad(true),
               weight = p.weight.to(at::kDouble).set_requires_grad(true);
  const Tensor logprob =
      at::matmul(hidden, weight.t()).log_softmax(-1).gather(1, p.targets.unsqueeze(1)).squeeze(1);
  Tensor loss = at::zeros({}, at::kDouble);
  std::vector<Tensor> logps;
  for (const PairRows& pair : p.pairs) {
    const Tensor chosen = logprob.slice(0, pair.chosen_begin, pair.chosen_end).sum();
    const Tensor rejected = logprob.slice(0, pair.rejected_begin, pair.rejected_end).sum();
    const Side better{chosen, pair.reference_chosen,
                      static_cast<double>(pair.chosen_end - pair.chosen_begin)};
    const Side worse{rejected, pair.reference_rejected,
                     static_cast<double>(pair.rejected_end - pair.rejected_begin)};
    loss = loss + (plain_loss(better, worse, p.loss, pair.kl_baseline) * pair.weight +
                   plain_loss(worse, better, p.loss, pair.kl_baseline) * (1 - pair.weight)) *
                      pair.scale;
    const Tensor kl =
        ((chosen - pair.base_chosen).square() / 2 + (rejected - pair.base_rejected).square() / 2) /
        2;
    loss = loss + kl * (p.loss.kl_coefficient * pair.scale);
    logps.push_back(at::stack({chosen, rejected}).detach());
  }
  const auto gradients = torch::autograd::grad({loss}, {hidden, weight});
  return {loss.item<double>(), gradients[0], gradients[1], at::stack(logps)};
}

void check_against_plain(const Problem& p, int64_t chunk_rows, double tolerance) {
  const Plain expected = plain(p);
  Head head{{.weight = p.weight}};
  Tensor d_head = at::ones({kVocab, kHidden});  // added to, not overwritten
  std::vector<PairOutcome> outcomes;
  const HeadGradient actual =
      linear_preference(p.hidden, head, p.targets, p.pairs, p.loss, d_head, outcomes, chunk_rows);
  CHECK(std::abs(actual.loss - expected.loss) <=
        tolerance * std::max(1.0, std::abs(expected.loss)));
  CHECK(actual.d_hidden.scalar_type() == p.hidden.scalar_type());
  CHECK_RELATIVE(actual.d_hidden, expected.d_hidden, tolerance);
  CHECK_RELATIVE(d_head - 1, expected.d_head, tolerance);
  CHECK(outcomes.size() == p.pairs.size());
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const double chosen = expected.logps[i][0].item<double>();
    CHECK(std::abs(outcomes[i].logp_chosen - chosen) <= tolerance * std::abs(chosen));
    const double tokens = static_cast<double>(p.pairs[i].chosen_end - p.pairs[i].chosen_begin);
    const double reward = p.loss.kind == LossKind::simpo
                              ? outcomes[i].logp_chosen / tokens
                              : outcomes[i].logp_chosen - p.pairs[i].reference_chosen;
    CHECK(std::abs(outcomes[i].reward_chosen - kBeta * reward) <= 1e-9);
  }
}

}  // namespace

CHECK_CASE("loss: the scalar formula is TRL's sigmoid at C = 1 and its aot elsewhere") {
  const JsonValue golden = check::golden("loss.json");
  for (const JsonValue& row : check::array(golden, "rows")) {
    const auto of = [&](const char* name) { return check::number(row, name); };
    const PreferenceTerm term =
        preference_term({of("logp_chosen"), of("logp_rejected"), of("reference_chosen"),
                         of("reference_rejected"), 1, 1, of("consistency"), 0},
                        {LossKind::dpo, of("beta")});
    CHECK(std::abs(term.loss - of("loss")) <= 1e-5);
    CHECK(std::abs(term.dlogp_chosen - of("dlogp_chosen")) <= 1e-5);
    CHECK(term.dlogp_rejected == -term.dlogp_chosen);
  }
}

CHECK_CASE("loss: the other losses are C times TRL's and 1 - C times TRL's with swapped roles") {
  const std::map<std::string, LossKind> kinds{{"ipo", LossKind::ipo},
                                              {"simpo", LossKind::simpo},
                                              {"kto", LossKind::kto},
                                              {"robust", LossKind::robust}};
  const JsonValue golden = check::golden("loss.json");
  std::set<std::string> seen;
  for (const JsonValue& row : check::array(golden, "losses")) {
    const auto of = [&](const char* name) { return check::number(row, name); };
    const std::string name = *row.find("name")->string();
    seen.insert(name);
    const PreferenceTerm term = preference_term(
        {of("logp_chosen"), of("logp_rejected"), of("reference_chosen"), of("reference_rejected"),
         of("tokens_chosen"), of("tokens_rejected"), of("consistency"), of("kl")},
        {kinds.at(name), of("beta"), of("simpo_gamma"), of("label_smoothing")});
    const double tolerance = 1e-6 * std::max(1.0, std::abs(of("loss")));
    CHECK(std::abs(term.loss - of("loss")) <= tolerance);
    CHECK(std::abs(term.dlogp_chosen - of("dlogp_chosen")) <= tolerance);
    CHECK(std::abs(term.dlogp_rejected - of("dlogp_rejected")) <= tolerance);
    CHECK(std::abs(term.reward_chosen - of("reward_chosen")) <= 1e-6);
    CHECK(std::abs(term.reward_rejected - of("reward_rejected")) <= 1e-6);
  }
  CHECK(seen.size() == kinds.size());
}

CHECK_CASE("loss: the scalar derivatives of every loss are finite differences") {
  for (const PreferenceLoss& loss : check::all_losses(kBeta))
    for (const double c : {0.0, 0.3, 0.5, 1.0})
      for (const double chosen : {-400.0, -30.0, -29.0, 300.0}) {
        const auto term = [&](double a, double b) {
          return preference_term({a, b, -30, -28, 7, 4, c, 0.8}, loss);
        };
        const double h = 1e-4;
        const PreferenceTerm at = term(chosen, -31);
        const double up = (term(chosen + h, -31).loss - term(chosen - h, -31).loss) / (2 * h);
        const double down = (term(chosen, -31 + h).loss - term(chosen, -31 - h).loss) / (2 * h);
        CHECK(std::abs(up - at.dlogp_chosen) <= 1e-6 * std::max(1.0, std::abs(up)));
        CHECK(std::abs(down - at.dlogp_rejected) <= 1e-6 * std::max(1.0, std::abs(down)));
      }
}

CHECK_CASE("loss: swapping the roles and C for 1 - C is the same loss") {
  for (const PreferenceLoss& loss : check::all_losses(kBeta)) {
    const PreferenceTerm one = preference_term({-31, -44, -30, -45, 7, 4, 0.8, 0.3}, loss);
    const PreferenceTerm other = preference_term({-44, -31, -45, -30, 4, 7, 0.2, 0.3}, loss);
    CHECK(std::abs(one.loss - other.loss) <= 1e-12 * std::max(1.0, std::abs(one.loss)));
    CHECK(std::abs(one.dlogp_chosen - other.dlogp_rejected) <= 1e-12);
    CHECK(std::abs(one.dlogp_rejected - other.dlogp_chosen) <= 1e-12);
  }
}

CHECK_CASE(
    "loss: the KL penalty's derivatives are finite differences; at the base it is 0 and at rest") {
  for (const double chosen : {-400.0, -31.0, -29.5, 12.0}) {
    const auto value = [](double a, double b) { return kl_term(a, b, -30, -20).value; };
    const KlTerm term = kl_term(chosen, -26, -30, -20);
    const double h = 1e-4;
    CHECK(std::abs((value(chosen + h, -26) - value(chosen - h, -26)) / (2 * h) -
                   term.dlogp_chosen) <= 1e-6 * std::max(1.0, std::abs(term.dlogp_chosen)));
    CHECK(std::abs((value(chosen, -26 + h) - value(chosen, -26 - h)) / (2 * h) -
                   term.dlogp_rejected) <= 1e-6 * std::max(1.0, std::abs(term.dlogp_rejected)));
    CHECK(std::abs(term.value - (0.5 * (chosen + 30) * (chosen + 30) + 0.5 * 6 * 6) / 2) <=
          1e-9 * std::max(1.0, term.value));
  }
  const KlTerm rest = kl_term(-30, -20, -30, -20);
  CHECK(rest.value == 0 && rest.dlogp_chosen == 0 && rest.dlogp_rejected == 0);
}

CHECK_CASE(
    "loss: with the KL penalty, fused loss and gradients are autograd's on the plain formula, in "
    "one pass and in two") {
  for (const double coefficient : {0.02, 0.5}) {
    for (const int64_t chunk : {7, 16, 512}) {
      Problem p = problem({{5, 8}, {1, 1}, {20, 3}, {2, 9}}, 1);
      p.loss.kl_coefficient = coefficient;
      check_against_plain(p, chunk, 1e-4);
    }
  }
  Problem p = problem({{5, 8}}, 1);
  p.pairs[0].base_chosen = std::nan("");  // ignored without the KL penalty
  Tensor d_head = at::zeros({kVocab, kHidden});
  std::vector<PairOutcome> outcomes;
  CHECK(std::isfinite(linear_preference(p.hidden, Head{{.weight = p.weight}}, p.targets, p.pairs,
                                        p.loss, d_head, outcomes)
                          .loss) &&
        outcomes[0].kl == 0);
}

CHECK_CASE("loss: C = 1/2 has no gradient where neither completion leads") {
  for (const PreferenceLoss& loss : check::all_losses(0.1)) {
    // Equal to the reference; for SimPO equal means per token.
    const PreferenceTerm rest = preference_term({-31.5, -12.6, -31.5, -12.6, 5, 2, 0.5, 0}, loss);
    CHECK(std::abs(rest.dlogp_chosen) < 1e-15 && std::abs(rest.dlogp_rejected) < 1e-15);
  }
  const PreferenceTerm certain = preference_term({-1e6, 0, 0, 0, 9, 9, 1, 0}, {LossKind::dpo, 1});
  CHECK(std::isfinite(certain.loss) && std::abs(certain.dlogp_chosen + 1) < 1e-12);
}

CHECK_CASE("loss: IPO holds a pair at (2C - 1) / 2 beta, SimPO below a margin of gamma") {
  for (const double c : {0.2, 0.5, 0.9}) {
    const double target = (2 * c - 1) / (2 * kBeta);
    CHECK(std::abs(preference_term({10 * target, 0, 0, 0, 10, 3, c, 0}, {LossKind::ipo, kBeta})
                       .dlogp_chosen) < 1e-12);
  }
  const auto simpo = [](double gamma) {
    return preference_term({-20, -40, 0, 0, 10, 10, 1, 0}, {LossKind::simpo, 2, gamma}).loss;
  };
  CHECK(std::abs(simpo(4) - std::log(2.0)) < 1e-12 && simpo(5) > simpo(4) && simpo(0) < simpo(4));
}

CHECK_CASE("loss: fused preference loss and gradients are autograd's on the plain formula") {
  for (const double c : {0.0, 0.25, 0.5, 0.9, 1.0})
    for (const int64_t chunk : {1, 7, 16, 512})
      check_against_plain(problem({{5, 8}, {1, 1}, {20, 3}, {2, 9}}, c), chunk, 1e-4);
}

CHECK_CASE("loss: the fused gradients of every loss are autograd's, with the KL penalty and not") {
  for (const PreferenceLoss& loss : check::all_losses(kBeta))
    for (const double coefficient : {0.0, 0.02})
      for (const int64_t chunk : {7, 512}) {
        Problem p = problem({{5, 8}, {1, 1}, {20, 3}, {2, 9}}, 0.8);
        p.loss = loss;
        p.loss.kl_coefficient = coefficient;
        check_against_plain(p, chunk, 1e-4);
      }
}

CHECK_CASE("loss: a frozen head gets no gradient, the hidden states the same one") {
  const Problem p = problem({{5, 8}, {30, 3}}, 0.9);
  Tensor wanted = at::zeros({kVocab, kHidden}), none;
  std::vector<PairOutcome> outcomes;
  const Head head{{.weight = p.weight}};
  const HeadGradient with =
      linear_preference(p.hidden, head, p.targets, p.pairs, p.loss, wanted, outcomes, 16);
  const HeadGradient without =
      linear_preference(p.hidden, head, p.targets, p.pairs, p.loss, none, outcomes, 16);
  CHECK(at::equal(with.d_hidden, without.d_hidden) && with.loss == without.loss && !none.defined());
}

CHECK_CASE("loss: a pair longer than a chunk is computed in two passes") {
  check_against_plain(problem({{40, 23}}, 0.8), 16, 1e-4);
  check_against_plain(problem({{3, 2}, {50, 61}, {4, 4}}, 0.7), 10, 1e-4);
}

CHECK_LEVELS("loss: the plain kernels agree with the fast ones, and those ran") {
  const uint64_t runs = ops::fast_runs(ops::Op::token_logprob);
  check_against_plain(problem({{5, 8}, {30, 3}}, 0.9), 16, 1e-4);
  CHECK(!ops::fast_path() || ops::fast_runs(ops::Op::token_logprob) > runs);
  const ops::ForcePlain force;
  check_against_plain(problem({{5, 8}, {30, 3}}, 0.9), 16, 1e-4);
}

CHECK_CASE("loss: bf16 hidden states and head keep fp32 sums") {
  check_against_plain(problem({{5, 8}, {30, 3}, {7, 7}}, 0.9, at::kBFloat16), 32, 2e-2);
}

CHECK_CASE("loss: log-sum-exp and gradient stand wide and damaged logits") {
  Tensor logits = at::randn({4, 333}) * 30;
  logits[0][5] = 3e4;
  logits[1].fill_(-200);
  const Tensor targets = at::tensor({5L, 0L, 332L, 17L}, at::kLong);
  const auto fast = ops::token_logprob(logits, targets),
             plain = ops::reference::token_logprob(logits, targets);
  CHECK_CLOSE(fast.logprob, plain.logprob, 2e-5);
  const Tensor coefficient = at::randn({4});
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    CHECK_CLOSE(
        ops::token_logprob_gradient(logits.clone(), fast.logsumexp, targets, coefficient, dtype),
        ops::reference::token_logprob_gradient(logits.clone(), plain.logsumexp, targets,
                                               coefficient, dtype),
        dtype == at::kFloat ? 1e-5 : 8e-3);
  }
  for (const double bad : {std::nan(""), static_cast<double>(INFINITY)}) {
    logits[2][100] = bad;
    CHECK(std::isnan(ops::token_logprob(logits, targets).logprob[2].item<float>()));
  }
}

CHECK_CASE("loss: cross entropy and its gradients are ATen's") {
  const Problem p = problem({{9, 14}, {3, 3}}, 1);
  const int64_t rows = p.hidden.size(0);
  const Tensor hidden = p.hidden.clone().set_requires_grad(true),
               weight = p.weight.clone().set_requires_grad(true);
  const Tensor expected =
      at::cross_entropy_loss(at::matmul(hidden, weight.t()), p.targets);  // mean over the rows
  const auto gradients = torch::autograd::grad({expected}, {hidden, weight});
  for (const int64_t chunk : {4, 512}) {
    Tensor d_head = at::zeros({kVocab, kHidden});
    const Tensor weights = at::full({rows}, 1.0 / static_cast<double>(rows));
    const HeadGradient actual = linear_cross_entropy(p.hidden, Head{{.weight = p.weight}},
                                                     p.targets, weights, d_head, chunk);
    CHECK(std::abs(actual.loss - expected.item<double>()) <= 1e-5 * expected.item<double>());
    CHECK_RELATIVE(actual.d_hidden, gradients[0], 1e-4);
    CHECK_RELATIVE(d_head, gradients[1], 1e-4);
  }
}
