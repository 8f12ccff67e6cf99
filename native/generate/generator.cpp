// The loop of all requests on one model: end what was cancelled, admit and prefill, decode,
// receive.
//
// On a device a step is launched before the host has received the tokens of the step before,
// because tokens pass from step to step in device memory. The host checks stop ids and strings and
// streams tokens while the next step runs. A sequence that turns out to have ended has then drawn
// one token too many, which is dropped.
#include "generate/generator.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/check_tokens.h"
#include "support/device.h"
#include "support/error.h"
#include "support/invariant.h"

namespace cream {

namespace {

void check_request(const ModelConfig& config, const GenerationRequest& request) {
  const SamplingParams& s = request.sampling;
  invariant(std::isfinite(s.temperature) && s.temperature >= 0, "temperature is negative");
  invariant(s.top_p > 0 && s.top_p <= 1, "top_p is not from 0 to 1");
  invariant(s.top_k >= 0, "top_k is negative");
  invariant(s.max_new_tokens >= 1, "max_new_tokens is below 1");
  invariant(s.min_new_tokens >= 0 && s.min_new_tokens <= s.max_new_tokens,
            "min_new_tokens is not from 0 to max_new_tokens");
  invariant(request.max_num_seqs >= 1, "max_num_seqs is below 1");
  invariant(request.top_logprobs >= 0 && request.top_logprobs <= config.vocab_size,
            "top_logprobs is not from 0 to the vocabulary's size");
  for (size_t i = 0; i < request.prompts.size(); ++i) {
    const GenerationPrompt& prompt = request.prompts[i];
    invariant(prompt.samples >= 1, "a prompt asks for no samples");
    check_tokens(config, prompt.tokens);
    check_length(config, static_cast<int64_t>(prompt.tokens.size()),
                 "[generate] prompt " + std::to_string(i),
                 "shorten it and leave room for new tokens", 1);
  }
}

float float_of(int32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Calls once(generation, first, last) for each run of adjacent sequences that belong to one
// request.
template <class Once>
void each_request(const Sequences& sequences, const Once& once) {
  for (size_t first = 0, last; first < sequences.size(); first = last) {
    const GenerationPtr generation = sequences[first]->generation;
    for (last = first; last < sequences.size() && sequences[last]->generation == generation;)
      ++last;
    once(*generation, first, last);
  }
}

}  // namespace

Generator::Generator(const Transformer& model, uint64_t& steps)
    : model_(model),
      steps_(steps),
      backend_(on_device(model.weights().embedding.weight) ? device_backend(model)
                                                           : cpu_backend(model)),
      scheduler_(*backend_),
      clock_(model.device()) {}

Generator::~Generator() = default;

void Generator::add(BoundedRequest request, GenerationCallbacks callbacks,
                    std::shared_ptr<const Cancel> cancel) {
  const c10::InferenceMode inference;
  check_request(model_.config(), request.request);
  auto generation = std::make_shared<Generation>(model_.config(), std::move(request),
                                                 std::move(callbacks), std::move(cancel));
  backend_->check(*generation);
  scheduler_.add(generation);
  if (generation->progress.total == 0) end(*generation, nullptr);
}

bool Generator::step() {
  const c10::InferenceMode inference;
  try {
    end_cancelled();
    bool changed = scheduler_.retire();
    // Tokens in flight hold memory that the waiting requests may need.
    if (scheduler_.running().empty()) receive(0);
    const Sequences entering = enter();
    receive(backend_->in_flight());
    changed |= scheduler_.retire() || !entering.empty();
    if (changed) backend_->arrange(scheduler_.running());
    receive(decode() ? backend_->in_flight() : 0);
  } catch (...) {  // an error of a computation that all requests share
    for (const GenerationPtr& generation : scheduler_.generations())
      end(*generation, std::current_exception());
  }
  scheduler_.remove_ended();
  return !scheduler_.generations().empty();
}

void Generator::end_cancelled() {
  for (const GenerationPtr& generation : scheduler_.generations()) {
    try {
      if (!generation->ended) generation->cancel->check();
    } catch (const Error&) {
      end(*generation, std::current_exception());
    }
  }
}

// The sequences that join in this step, with their first tokens requested.
Sequences Generator::enter() {
  Sequences entering = scheduler_.admit(
      [this](Generation& generation) { end(generation, std::current_exception()); });
  each_request(entering, [this](Generation& generation, size_t, size_t) {
    if (generation.result.stats.prompt_tokens == 0)
      generation.result.first_step = generation.result.last_step = steps_;
  });
  prefill(entering);
  std::erase_if(entering, [](const SequencePtr& sequence) { return sequence->generation->ended; });
  if (entering.empty()) return entering;
  ask(entering, backend_->first_tokens(entering), /*decoded=*/false);
  for (const SequencePtr& sequence : entering)
    if (last_of_prompt(*sequence)) sequence->prefill->logits.reset();
  scheduler_.run(entering);
  return entering;
}

// Computes the prompts of the sequences that enter, several per pass. If a pass fails, its requests
// end.
void Generator::prefill(const Sequences& entering) {
  for (Sequences pass : prefill_passes(entering, backend_->prefill_tokens())) {
    end_cancelled();
    std::erase_if(pass, [](const SequencePtr& sequence) { return sequence->generation->ended; });
    if (pass.empty()) continue;
    try {
      backend_->prefill(pass);
    } catch (...) {
      for (const SequencePtr& sequence : pass) end(*sequence->generation, std::current_exception());
      continue;
    }
    for (const SequencePtr& sequence : pass) {
      sequence->prefill->computed = true;
      sequence->generation->result.stats.prompt_tokens += sequence->prefill->prompt->tokens.size();
    }
  }
}

// Launches one token for every running sequence; false where none runs.
bool Generator::decode() {
  const Sequences& running = scheduler_.running();
  if (running.empty()) return false;
  ask(running, backend_->decode(running), /*decoded=*/true);
  ++steps_;
  each_request(running, [this](Generation& generation, size_t, size_t) {
    ++generation.result.stats.decode_steps;
    generation.result.last_step = steps_;
    std::string& failure = generation.result.stats.graph_failure;
    if (failure.empty()) failure = backend_->graph_failure();
  });
  return true;
}

void Generator::ask(const Sequences& sequences, Tensor drawn, bool decoded) {
  for (const SequencePtr& sequence : sequences) ++sequence->launched;
  rounds_.push_back({sequences, std::move(drawn), StreamMark(model_.device()), decoded});
}

// Waits for the oldest rounds until `in_flight` are left, and delivers their tokens and
// completions.
void Generator::receive(size_t in_flight) {
  while (rounds_.size() > in_flight) {
    Round round = std::move(rounds_.front());
    rounds_.pop_front();
    round.done.wait();
    const double seconds = round.done.seconds_since(clock_);
    each_request(round.sequences, [&](Generation& generation, size_t first, size_t last) {
      if (generation.ended) return;
      try {
        receive_part(round, first, last, seconds);
      } catch (...) {
        end(generation, std::current_exception());
      }
    });
    clock_ = std::move(round.done);
  }
}

// The part of a round that belongs to one request.
void Generator::receive_part(const Round& round, size_t first, size_t last, double seconds) {
  Generation& generation = *round.sequences[first]->generation;
  (round.decoded ? generation.result.stats.decode_seconds
                 : generation.result.stats.prefill_seconds) += seconds;
  const int32_t* tokens = round.drawn.const_data_ptr<int32_t>();
  const int64_t stride = round.drawn.stride(0), told = round.drawn.size(0) / 2 - 1;
  const int32_t* logprobs = tokens + stride;
  std::vector<StreamedToken> streamed;
  std::vector<Sequence*> drew;
  for (size_t i = first; i < last; ++i) {
    Sequence& sequence = *round.sequences[i];
    if (sequence.ended) continue;
    if (tokens[i] < 0)
      throw Error(
          ErrorCode::non_finite,
          "sample: no token has a finite logit; the model's weights or activations overflowed. "
          "Fetch the model again, or train it with a lower learning rate.");
    StreamedToken drawn{sequence.prefill->prompt_index,
                        sequence.key.sample,
                        tokens[i],
                        float_of(logprobs[i]),
                        {},
                        {}};
    for (int64_t k = 0; k < generation.request.top_logprobs; ++k) {
      const TokenId token = tokens[(2 + k) * stride + i];
      drawn.top_tokens.push_back(token);
      // The draw's own sum may differ from top_logprobs()'s in the last bit.
      drawn.top_logprobs.push_back(
          token == drawn.token ? drawn.logprob : float_of(tokens[(2 + told + k) * stride + i]));
    }
    sequence.receive(drawn);
    if (generation.request.stream_tokens) streamed.push_back(std::move(drawn));
    drew.push_back(&sequence);
  }
  if (drew.empty()) return;
  generation.result.stats.completion_tokens += drew.size();
  if (!streamed.empty() && generation.callbacks.on_tokens)
    generation.callbacks.on_tokens(std::move(streamed));
  for (Sequence* sequence : drew) {
    if (const auto reason = generation.stop.finished(*sequence)) deliver(*sequence, *reason);
  }
  generation.progress.tokens = generation.result.stats.completion_tokens;
  if (generation.callbacks.on_progress) generation.callbacks.on_progress(generation.progress);
  if (generation.progress.done == generation.progress.total) end(generation, nullptr);
}

void Generator::deliver(Sequence& sequence, FinishReason reason) {
  Generation& generation = *sequence.generation;
  sequence.ended = true;
  ++generation.progress.done;
  if (generation.callbacks.on_completion)
    generation.callbacks.on_completion({sequence.prefill->prompt_index, sequence.key.sample,
                                        std::move(sequence.tokens), std::move(sequence.logprobs),
                                        std::move(sequence.top_tokens),
                                        std::move(sequence.top_logprobs), reason});
}

void Generator::end(Generation& generation, const std::exception_ptr& error) {
  if (generation.ended) return;
  generation.ended = true;
  generation.entering.reset();
  const GenerationCallbacks callbacks = std::move(generation.callbacks);
  generation.result.error = error;
  if (callbacks.on_end) callbacks.on_end(generation.result);
}

GenerationStats generate(const Transformer& model, const GenerationRequest& request,
                         GenerationCallbacks callbacks, const Cancel& cancel) {
  uint64_t steps = 0;
  GenerationEnd result;
  callbacks.on_end = [&](const GenerationEnd& end) { result = end; };
  Generator generator(model, steps);
  // The cancel outlives the run.
  generator.add({request}, std::move(callbacks), {std::shared_ptr<void>(), &cancel});
  while (generator.step()) {
  }
  if (result.error) std::rethrow_exception(result.error);
  return result.stats;
}

}  // namespace cream
