#include "score/scorer.h"

#include "check.h"
#include "tiny_model.h"

using namespace cream;

// log p of the completion's tokens from the logits of the whole sequence.
static std::vector<float> oracle(const Transformer& model, const Tokens& prompt,
                                 const Tokens& completion) {
  const Tensor logprobs =
      sequence_logits(model, check::joined(prompt, completion)).to(at::kDouble).log_softmax(-1);
  std::vector<float> out;
  for (size_t i = 0; i < completion.size(); ++i) {
    out.push_back(
        logprobs[static_cast<int64_t>(prompt.size() + i) - 1][completion[i]].item<float>());
  }
  return out;
}

static ScoringRequest ragged_request() {
  ScoringRequest request;
  for (uint64_t g = 0; g < 4; ++g) {
    ScoringGroup group{check::tiny_tokens(1 + 6 * g, g), {}};
    for (uint64_t c = 0; c < 4 - g % 2; ++c)
      group.completions.push_back(check::tiny_tokens(1 + 7 * c, 100 + 10 * g + c));
    request.groups.push_back(group);
  }
  return request;
}

CHECK_CASE("score: token log-probs are log-softmax of the sequence's logits") {
  for (const auto& shape : check::tiny_shapes()) {
    const Transformer model = check::tiny_model(shape);
    const ScoringRequest request = ragged_request();
    const ScoringResult result = score(model, request, {}, Cancel());
    size_t index = 0;
    for (const auto& group : request.groups) {
      for (const auto& completion : group.completions) {
        const auto expected = oracle(model, group.prompt, completion);
        const uint64_t begin = result.offsets[index], end = result.offsets[index + 1];
        CHECK(end - begin == completion.size());
        double sum = 0;
        for (uint64_t i = begin; i < end; ++i) {
          CHECK(std::abs(result.token_logprobs[i] - expected[i - begin]) <= 1e-4);
          sum += result.token_logprobs[i];
        }
        CHECK(result.sums[index] == sum);
        ++index;
      }
    }
    CHECK(result.sums.size() == index && result.offsets.size() == index + 1);
  }
}

CHECK_CASE("score: the bound on rows cuts batches, not results") {
  const Transformer model = check::tiny_model();
  ScoringRequest request = ragged_request();
  const ScoringResult whole = score(model, request, {}, Cancel());
  for (const int64_t bound :
       {1, 20, 33, 64}) {  // 1: every completion in a batch of its own with its prompt
    request.max_num_batched_tokens = bound;
    std::vector<Progress> seen;
    const ScoringResult cut =
        score(model, request, [&](const Progress& p) { seen.push_back(p); }, Cancel());
    CHECK(cut.offsets == whole.offsets);
    for (size_t i = 0; i < whole.sums.size(); ++i)
      CHECK(std::abs(cut.sums[i] - whole.sums[i]) <= 1e-3);
    CHECK(seen.size() > 1 && seen.back().done == whole.sums.size() &&
          seen.back().total == whole.sums.size());
    CHECK(seen.back().tokens == cut.forward_tokens && cut.forward_tokens >= whole.forward_tokens);
  }
  request.max_num_batched_tokens = 1;
  CHECK(score(model, request, {}, Cancel()).forward_tokens > whole.forward_tokens);
}

CHECK_CASE("score: a shared prompt costs its rows once") {
  const Transformer model = check::tiny_model();
  ScoringRequest request;
  request.groups.push_back(
      {check::tiny_tokens(10, 1),
       {check::tiny_tokens(4, 2), check::tiny_tokens(1, 3), check::tiny_tokens(6, 4)}});
  CHECK(score(model, request, {}, Cancel()).forward_tokens == 10 + 3 + 0 + 5);
}

CHECK_CASE("score: nothing to score gives nothing") {
  const Transformer model = check::tiny_model();
  ScoringRequest request;
  request.groups.push_back({check::tiny_tokens(3, 1), {}});
  const ScoringResult result = score(model, request, {}, Cancel());
  CHECK(result.sums.empty() && result.offsets == std::vector<uint64_t>{0} &&
        result.forward_tokens == 0);
}

CHECK_CASE("score: bad requests are refused by group before any work") {
  const Transformer model = check::tiny_model();
  const auto run = [&](const Tokens& prompt, const Tokens& completion) {
    ScoringRequest request;
    request.groups.push_back({check::tiny_tokens(3, 1), {check::tiny_tokens(3, 2)}});
    request.groups.push_back({prompt, {check::tiny_tokens(2, 3), completion}});
    score(
        model, request, [](const Progress&) { throw std::runtime_error("a batch ran"); }, Cancel());
  };
  const Tokens fine = check::tiny_tokens(4, 5);
  CHECK_THROWS(internal, "a sequence is empty", run({}, fine));
  CHECK_THROWS(internal, "a sequence is empty", run(fine, {}));
  CHECK_THROWS(internal, "outside the vocabulary", run(fine, {1, 96}));
  CHECK_THROWS(internal, "outside the vocabulary", run({-1}, fine));
  CHECK_THROWS(invalid_argument,
               "[score] prompt 1 with completion 1 has 1,004 tokens, the model's context is 64",
               run(fine, check::tiny_tokens(1000, 6)));
}

CHECK_CASE(
    "score: a sequence as long as the context, and one token more, which is predicted and not "
    "read, is scored") {
  const Transformer model = check::tiny_model();
  ScoringRequest request;
  request.groups.push_back(
      {check::tiny_tokens(60, 1), {check::tiny_tokens(4, 2), check::tiny_tokens(5, 2)}});
  const ScoringResult result = score(model, request, {}, Cancel());
  CHECK(result.sums.size() == 2);
  for (int i = 0; i < 4; ++i)
    CHECK(std::abs(result.token_logprobs[i] - result.token_logprobs[4 + i]) < 1e-4);
  request.groups.push_back({check::tiny_tokens(60, 1), {check::tiny_tokens(6, 2)}});
  CHECK_THROWS(invalid_argument,
               "[score] prompt 1 with completion 0 has 66 tokens, the model's context is 64",
               score(model, request, {}, Cancel()));
}

CHECK_CASE("score: a cancelled request stops between batches") {
  const Transformer model = check::tiny_model();
  ScoringRequest request = ragged_request();
  request.max_num_batched_tokens = 1;
  Cancel cancel;
  int batches = 0;
  const auto stop_after_two = [&](const Progress&) {
    if (++batches == 2) cancel.request();
  };
  CHECK_THROWS(aborted, "aborted", score(model, request, stop_after_two, cancel));
  CHECK(batches == 2);
}
