// The preference loss on hidden states, with its gradients; memory for logits does not grow with
// the number of rows.
//
//   log π(y) = Σ_rows log softmax(h·Wᵀ)[target]
//   L and dL/dlog π: preference.h; dL/dlog π is the same for all rows of y.
//
// Pairs are grouped until their rows fill a chunk, so log-probs, loss and gradient of a chunk come
// from one set of logits. A pair longer than a chunk needs its sums before any gradient, so its
// chunks are computed twice. Source: the gradient-in-forward chunking of
// Liger-Kernel's fused linear preference loss.
#include "loss/linear_preference.h"

#include "loss/head_chunk.h"
#include "loss/preference.h"

namespace cream {
namespace {

// The rows of consecutive pairs, each with its pair and its side.
struct GroupRows {
  struct Row {
    int64_t row;
    size_t pair;
    bool chosen;
  };
  std::vector<Row> rows;

  void append(const PairRows& pair, size_t index) {
    for (int64_t row = pair.chosen_begin; row < pair.chosen_end; ++row)
      rows.push_back({row, index, true});
    for (int64_t row = pair.rejected_begin; row < pair.rejected_end; ++row)
      rows.push_back({row, index, false});
  }
  int64_t size() const { return static_cast<int64_t>(rows.size()); }
};

int64_t rows_of(const PairRows& pair) {
  return pair.chosen_end - pair.chosen_begin + pair.rejected_end - pair.rejected_begin;
}

PairScores scores_of(const PairRows& pair, const PairOutcome& outcome) {
  return {outcome.logp_chosen,
          outcome.logp_rejected,
          pair.reference_chosen,
          pair.reference_rejected,
          static_cast<double>(pair.chosen_end - pair.chosen_begin),
          static_cast<double>(pair.rejected_end - pair.rejected_begin),
          pair.weight,
          pair.kl_baseline};
}

struct Computation {
  const Tensor& hidden;
  const Head& head;
  const Tensor& targets;
  const std::vector<PairRows>& pairs;
  const PreferenceLoss& loss;
  Tensor& head_gradient;
  std::vector<PairOutcome>& outcomes;
  HeadGradient result;

  Tensor index_of(const GroupRows& group, int64_t begin, int64_t end) const {
    std::vector<int64_t> index;
    for (int64_t i = begin; i < end; ++i) index.push_back(group.rows[i].row);
    return at::tensor(at::ArrayRef<int64_t>(index), targets.options());
  }

  HeadChunk chunk_of(const Tensor& index) const {
    return HeadChunk(hidden.index_select(0, index), head, targets.index_select(0, index));
  }

  // Adds the log-probs of the group's rows from `begin` on to their pairs' sums, in row order.
  void add_logprobs(const GroupRows& group, int64_t begin, const Tensor& logprob) {
    const Tensor values = logprob.cpu();
    const float* const data = values.const_data_ptr<float>();
    for (int64_t i = 0; i < values.numel(); ++i) {
      const auto& row = group.rows[begin + i];
      (row.chosen ? outcomes[row.pair].logp_chosen : outcomes[row.pair].logp_rejected) += data[i];
    }
  }

  // scale · dL/dlog π of a pair's completions.
  struct Derivatives {
    double chosen, rejected;
  };

  // Loss and rewards of pairs first … last − 1, whose sums are complete.
  std::vector<Derivatives> finish_pairs(size_t first, size_t last) {
    std::vector<Derivatives> derivatives;
    for (size_t i = first; i < last; ++i) {
      const PairRows& pair = pairs[i];
      PairOutcome& outcome = outcomes[i];
      const PreferenceTerm term = preference_term(scores_of(pair, outcome), loss);
      KlTerm kl{};
      if (loss.kl_coefficient > 0)
        kl = kl_term(outcome.logp_chosen, outcome.logp_rejected, pair.base_chosen,
                     pair.base_rejected);
      outcome.loss = term.loss + loss.kl_coefficient * kl.value;
      outcome.kl = kl.value;
      outcome.reward_chosen = term.reward_chosen;
      outcome.reward_rejected = term.reward_rejected;
      result.loss += pair.scale * outcome.loss;
      derivatives.push_back(
          {pair.scale * (term.dlogp_chosen + loss.kl_coefficient * kl.dlogp_chosen),
           pair.scale * (term.dlogp_rejected + loss.kl_coefficient * kl.dlogp_rejected)});
    }
    return derivatives;
  }

  void add_gradient(HeadChunk& chunk, const GroupRows& group, int64_t begin, const Tensor& index,
                    size_t first_pair, const std::vector<Derivatives>& derivatives) {
    std::vector<float> coefficient;
    for (int64_t i = 0; i < index.numel(); ++i) {
      const auto& row = group.rows[begin + i];
      const Derivatives& derivative = derivatives[row.pair - first_pair];
      coefficient.push_back(
          static_cast<float>(row.chosen ? derivative.chosen : derivative.rejected));
    }
    const Tensor d =
        chunk.backward(at::tensor(coefficient, hidden.options().dtype(at::kFloat)), head_gradient);
    result.d_hidden.index_add_(0, index, d);
  }

  // For pairs first … last − 1, which fit in one chunk.
  void one_pass(const GroupRows& group, size_t first, size_t last) {
    const Tensor index = index_of(group, 0, group.size());
    HeadChunk chunk = chunk_of(index);
    add_logprobs(group, 0, chunk.logprob());
    add_gradient(chunk, group, 0, index, first, finish_pairs(first, last));
  }

  // For one pair that is longer than a chunk.
  void two_passes(const GroupRows& group, size_t pair, int64_t chunk_rows) {
    for (int64_t begin = 0; begin < group.size(); begin += chunk_rows)
      add_logprobs(
          group, begin,
          chunk_of(index_of(group, begin, std::min(begin + chunk_rows, group.size()))).logprob());
    const std::vector<Derivatives> derivatives = finish_pairs(pair, pair + 1);
    for (int64_t begin = 0; begin < group.size(); begin += chunk_rows) {
      const Tensor index = index_of(group, begin, std::min(begin + chunk_rows, group.size()));
      HeadChunk chunk = chunk_of(index);
      add_gradient(chunk, group, begin, index, pair, derivatives);
    }
  }
};

}  // namespace

HeadGradient linear_preference(const Tensor& hidden, const Head& head, const Tensor& targets,
                               const std::vector<PairRows>& pairs, const PreferenceLoss& loss,
                               Tensor& head_gradient, std::vector<PairOutcome>& outcomes,
                               int64_t chunk_rows) {
  const at::NoGradGuard no_grad;
  outcomes.assign(pairs.size(), {});
  Computation computation{hidden, head,          targets,  pairs,
                          loss,   head_gradient, outcomes, {0, at::zeros_like(hidden)}};
  for (size_t first = 0; first < pairs.size();) {
    GroupRows group;
    size_t last = first;
    while (last < pairs.size() &&
           (last == first || group.size() + rows_of(pairs[last]) <= chunk_rows)) {
      group.append(pairs[last], last);
      ++last;
    }
    if (group.size() <= chunk_rows) {
      computation.one_pass(group, first, last);
    } else {
      computation.two_passes(group, first, chunk_rows);
    }
    first = last;
  }
  return std::move(computation.result);
}

}  // namespace cream
