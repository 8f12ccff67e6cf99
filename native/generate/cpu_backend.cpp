// Generation on the CPU: a block of keys and values per prompt, and one per sequence, which grows.
#include <cstring>

#include "generate/backend.h"
#include "generate/cache_attention.h"
#include "generate/scheduler.h"
#include "generate/top_logprobs.h"
#include "model/checked_attention.h"
#include "model/packing.h"
#include "ops/sample/op.h"
#include "support/parallel.h"
#include "support/random.h"

namespace cream {

namespace {

constexpr int64_t kCpuPrefillTokens = 1024;
constexpr int64_t kFirstCapacity = 64;  // positions of a new KV block; doubled when full

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const Transformer& model) : model_(model) {}

  size_t in_flight() const override { return 0; }
  int64_t most_rows() const override { return std::numeric_limits<int64_t>::max(); }
  int64_t prefill_tokens() const override { return kCpuPrefillTokens; }

  // Waves of equal size, as few as max_num_seqs allows: the same steps with fewer blocks in memory.
  int64_t most_sequences(const GenerationRequest& request) const override {
    const int64_t samples = sample_count(request);
    const int64_t waves = (samples + request.max_num_seqs - 1) / request.max_num_seqs;
    return waves == 0 ? request.max_num_seqs : (samples + waves - 1) / waves;
  }

  void check(const Generation&) const override {}
  bool reserve(Sequence&) override { return true; }
  void prefill(const Sequences& sequences) override;
  Tensor first_tokens(const Sequences& entering) override;
  void arrange(const Sequences&) override {}
  Tensor decode(const Sequences& running) override;

 private:
  using Logits = std::vector<const float*>;  // [vocab] for each sequence
  Tensor draw(const Sequences& sequences, const Logits& logits) const;

  const Transformer& model_;
};

// Adds the most likely tokens, of logits() [sequences, vocab], if a request asks for them.
template <class LogitsOf>
Tensor with_top(const Tensor& drawn, const Sequences& sequences, const LogitsOf& logits) {
  const int64_t count = most_top_logprobs(sequences);
  return count == 0 ? drawn : at::cat({drawn, top_logprobs(logits(), count)});
}

void CpuBackend::prefill(const Sequences& sequences) {
  PackedBatch batch;
  std::vector<KvBlock*> blocks;
  std::vector<int64_t> last_rows;
  for (const SequencePtr& sequence : sequences) {
    Prefill& prompt = *sequence->prefill;
    batch.add_prompt(prompt.prompt->tokens);
    last_rows.push_back(batch.rows() - 1);
    prompt.cache = std::make_shared<KvBlock>(model_.config(), model_.dtype(), prompt.length());
    blocks.push_back(prompt.cache.get());
  }
  PrefillAttention filling(batch.segments(), blocks);
  // The pass is aborted once all of its requests are cancelled.
  CheckedAttention attention(filling, [&sequences] {
    for (const SequencePtr& sequence : sequences)
      if (!sequence->generation->cancel->requested()) return;
    sequences.front()->generation->cancel->check();
  });
  const Tensor hidden = model_.forward(batch.as_token_batch(), attention);  // [rows, hidden]
  const Tensor last =
      hidden.index_select(0, at::tensor(at::ArrayRef<int64_t>(last_rows), at::kLong));
  const Tensor logits =
      ops::linear_f32(last, model_.weights().head).contiguous();  // [prompts, vocab]
  for (size_t i = 0; i < sequences.size(); ++i) {
    Prefill& prompt = *sequences[i]->prefill;
    prompt.cache->length = prompt.cache->capacity();
    prompt.logits = logits.select(0, static_cast<int64_t>(i));
  }
}

Tensor CpuBackend::first_tokens(const Sequences& entering) {
  Logits logits;
  for (const SequencePtr& sequence : entering) {
    logits.push_back(sequence->prefill->logits.const_data_ptr<float>());
    // The last token is never read, so a completion of n tokens needs n − 1 positions.
    if (sequence->limit > 1)
      sequence->own = std::make_shared<KvBlock>(model_.config(), model_.dtype(),
                                                std::min(kFirstCapacity, sequence->limit - 1));
  }
  return with_top(draw(entering, logits), entering, [&] {
    std::vector<Tensor> rows;
    for (const SequencePtr& sequence : entering) rows.push_back(sequence->prefill->logits);
    return at::stack(rows);
  });
}

Tensor CpuBackend::decode(const Sequences& running) {
  std::vector<Sequence*> sequences;
  std::vector<int64_t> tokens, positions;
  for (const SequencePtr& sequence : running) {
    KvBlock& own = *sequence->own;
    if (own.length == own.capacity()) own.grow(2 * own.capacity());
    sequences.push_back(sequence.get());
    tokens.push_back(sequence->tokens.back());
    positions.push_back(sequence->prefill->cache->length + own.length);
  }
  DecodeAttention attention(sequences, model_.config().num_kv_heads);
  const TokenBatch inputs{at::tensor(at::ArrayRef<int64_t>(tokens), at::kLong),
                          at::tensor(at::ArrayRef<int64_t>(positions), at::kLong)};
  const Tensor logits =
      ops::linear_f32(model_.forward(inputs, attention), model_.weights().head).contiguous();
  Logits rows;
  for (size_t i = 0; i < running.size(); ++i) {
    rows.push_back(logits.const_data_ptr<float>() + static_cast<int64_t>(i) * logits.size(1));
    ++running[i]->own->length;
  }
  return with_top(draw(running, rows), running, [&] { return logits; });
}

// As Backend::first_tokens().
Tensor CpuBackend::draw(const Sequences& sequences, const Logits& logits) const {
  const int64_t count = static_cast<int64_t>(sequences.size());
  Tensor drawn = at::empty({2, count}, at::kInt);
  int32_t* const tokens = drawn.mutable_data_ptr<int32_t>();
  parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Sequence& sequence = *sequences[i];
      const Generation& generation = *sequence.generation;
      Draw draw{-1, 0};
      try {
        draw = ops::sample(logits[i], model_.config().vocab_size, generation.request.sampling,
                           generation.stop.banned(sequence),
                           uniform(sequence.key, static_cast<uint32_t>(sequence.tokens.size())));
      } catch (const Error& error) {  // no finite logit: the token −1 says so
        if (error.code() != ErrorCode::non_finite) throw;
      }
      tokens[i] = draw.token;
      std::memcpy(tokens + count + i, &draw.logprob, sizeof draw.logprob);
    }
  });
  return drawn;
}

}  // namespace

std::unique_ptr<Backend> cpu_backend(const Transformer& model) {
  return std::make_unique<CpuBackend>(model);
}

}  // namespace cream
