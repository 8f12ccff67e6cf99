// Continuous batching on a device, without waiting for the device between steps: a step is launched
// before the host has received the tokens of the step before, because tokens pass from step to step
// in device memory. The host checks stop ids and strings and streams tokens while the next step
// runs. A sequence that turns out to have ended has then drawn one token too many, which is
// dropped.
//
// A sequence reserves pages for all its possible tokens when it enters, so a running sequence never
// waits and is never preempted. Where pages are short, the next sequence waits until others end.
#include "generate/device_generator.h"

#include <deque>
#include <numeric>

#include "generate/device_batch.h"
#include "generate/paged_attention.h"
#include "generate/stop.h"
#include "ops/pages/op.h"
#include "support/error.h"
#include "support/step_graph.h"
#include "support/stream_mark.h"
#include "support/transfer.h"

namespace cream {

namespace {

constexpr int64_t kPrefillTokens = 4096;  // per prefill pass; a longer prompt is cut into chunks
constexpr int64_t kShortest = 256;        // decode steps cover 256, 512, 1024, … positions

// Tokens requested from the device that the host has not received yet.
struct Round {
  std::vector<DeviceSamplePtr> samples;
  Tensor drawn;  // [2, samples] int32: tokens, bits of log-probs
  StreamMark done;
  bool decoded;  // false: first tokens, drawn from the prompts' logits
};

// The pages of a sequence: its prompt's, and its own for all new tokens but the last, which no step
// reads.
struct PageNeed {
  int64_t prompt = 0, own = 0;
  // The prompt's last page is not full, and the sequence continues it: in a copy, or in the page
  // itself if it is the prompt's last sequence.
  bool partial = false;

  PageNeed(const GenerationPrompt& of, int64_t limit, bool last) {
    const int64_t length = static_cast<int64_t>(of.tokens.size());
    prompt = pages_of(length);
    partial = limit > 1 && length % page_size > 0;
    if (limit > 1)
      own = pages_of(length + limit - 1) - length / page_size - (partial && last ? 1 : 0);
  }
};

class DeviceGenerator {
 public:
  DeviceGenerator(const Transformer& model, const GenerationRequest& request,
                  const GenerationCallbacks& callbacks, const Cancel& cancel);

  GenerationStats run() {
    while (!queue_.empty() || !batch_.samples().empty() || !rounds_.empty()) step();
    return stats_;
  }

 private:
  void step() {
    cancel_.check();
    const size_t in_flight = decode() ? 1 : 0;
    while (rounds_.size() > in_flight) receive();
    enter();
  }

  bool decode();
  void receive();
  void enter();
  std::vector<DeviceSamplePtr> admit(int64_t free_seqs);
  void prefill(const std::vector<DeviceSamplePtr>& entering);
  Tensor prefill_pass(const PrefillRows& rows, const std::vector<int64_t>& predicting);
  void place(const std::vector<DeviceSamplePtr>& entering);
  void draw_first(const std::vector<DeviceSamplePtr>& entering, const ops::DecodeStep& staged);
  void ask(const std::vector<DeviceSamplePtr>& samples, const Tensor& drawn, bool decoded);
  void deliver(DeviceSample& sample, FinishReason reason);
  int64_t pages_wanted() const;
  void check_pages() const;

  const Transformer& model_;
  const GenerationRequest& request_;
  const GenerationCallbacks& callbacks_;
  const Cancel& cancel_;
  const at::Device device_;
  const StopRule stop_;
  PagedCache cache_;  // declared before the sequences, whose pages return to it
  Queue queue_;
  DeviceBatch batch_;
  std::deque<Round> rounds_;
  Tensor banned_;     // the stop ids, int32
  StreamMark clock_;  // end of the last received round
  StepGraph graph_;
  GenerationStats stats_;
  Progress progress_;
};

int64_t longest_table(const GenerationRequest& request, const StopRule& stop) {
  int64_t pages = 1;
  for (const GenerationPrompt& p : request.prompts)
    pages = std::max(pages,
                     pages_of(static_cast<int64_t>(p.tokens.size()) + stop.max_new_tokens(p) - 1));
  return pages;
}

// max_num_seqs, at most the sequences of the request.
int64_t num_seqs_of(const GenerationRequest& request) {
  return std::min(request.max_num_seqs, std::max<int64_t>(sample_count(request), 1));
}

DeviceGenerator::DeviceGenerator(const Transformer& model, const GenerationRequest& request,
                                 const GenerationCallbacks& callbacks, const Cancel& cancel)
    : model_(model),
      request_(request),
      callbacks_(callbacks),
      cancel_(cancel),
      device_(model.weights().embedding.weight.device()),
      stop_(model.config(), request),
      cache_(model.config(), model.dtype(), device_, pages_wanted()),
      queue_(request),
      batch_(num_seqs_of(request), longest_table(request, stop_), device_),
      banned_(upload(request.sampling.stop_ids, device_)),
      clock_(device_),
      graph_(device_) {
  progress_.total = sample_count(request);
  check_pages();
}

// Worst-case page demand for max_num_seqs sequences, each of another prompt, plus one prompt in
// prefill; at most request.most_pages.
int64_t DeviceGenerator::pages_wanted() const {
  std::vector<int64_t> prompts, samples;
  int64_t largest = 0;
  for (const GenerationPrompt& p : request_.prompts) {
    const PageNeed need(p, stop_.max_new_tokens(p), false);
    prompts.push_back(need.prompt);
    samples.insert(samples.end(),
                   std::min<uint64_t>(p.samples, static_cast<uint64_t>(request_.max_num_seqs)),
                   need.own);
    largest = std::max(largest, need.prompt);
  }
  const auto sum_of_largest = [&](std::vector<int64_t>& counts) {
    std::sort(counts.rbegin(), counts.rend());
    return std::accumulate(counts.begin(),
                           counts.begin() + std::min<int64_t>(request_.max_num_seqs,
                                                              static_cast<int64_t>(counts.size())),
                           int64_t{0});
  };
  const int64_t pages =
      std::max<int64_t>(1, sum_of_largest(prompts) + largest + sum_of_largest(samples));
  return request_.most_pages > 0 ? std::min(pages, request_.most_pages) : pages;
}

void DeviceGenerator::check_pages() const {
  for (size_t i = 0; i < request_.prompts.size(); ++i) {
    const GenerationPrompt& prompt = request_.prompts[i];
    const PageNeed need(prompt, stop_.max_new_tokens(prompt), prompt.samples == 1);
    if (need.prompt + need.own <= cache_.pages()) continue;
    throw Error(ErrorCode::out_of_memory,
                "[generate] prompt " + std::to_string(i) + " of " +
                    std::to_string(prompt.tokens.size()) + " tokens needs " +
                    std::to_string(need.prompt + need.own) + " pages of keys and values for " +
                    std::to_string(stop_.max_new_tokens(prompt)) +
                    " new tokens, but the device's cache has " + std::to_string(cache_.pages()) +
                    ": shorten the prompt, or lower max_new_tokens.");
  }
}

// Launches one token for every running sequence; false where none runs.
bool DeviceGenerator::decode() {
  const int64_t live = static_cast<int64_t>(batch_.samples().size());
  if (live == 0) return false;
  int64_t bound = kShortest;
  while (bound < batch_.longest()) bound *= 2;
  const int64_t rows = row_bucket(live);  // idle ones included
  graph_.run(bound << 20 | rows, [&] {
    const ops::DecodeStep part = batch_.decode_step().first(rows);
    ops::advance(part, request_.sampling, page_size, /*from_prompt=*/false);
    PagedDecode attention(cache_, part, batch_.groups().narrow(0, 0, rows),
                          std::min(bound, part.page_table.size(1) * page_size));
    const Tensor hidden =
        model_.forward({part.inputs, part.positions}, attention);  // [rows, hidden]
    ops::draw(part, ops::linear_f32(hidden, model_.weights().head), banned_);
  });
  ask(batch_.samples(), batch_.decode_step().drawn.narrow(1, 0, live), /*decoded=*/true);
  ++stats_.decode_steps;
  return true;
}

void DeviceGenerator::ask(const std::vector<DeviceSamplePtr>& samples, const Tensor& drawn,
                          bool decoded) {
  for (const DeviceSamplePtr& sample : samples) ++sample->launched;
  Tensor copy = download(drawn);
  rounds_.push_back({samples, std::move(copy), StreamMark(device_), decoded});
}

// Waits for the oldest round and delivers its tokens and completions.
void DeviceGenerator::receive() {
  Round round = std::move(rounds_.front());
  rounds_.pop_front();
  round.done.wait();
  (round.decoded ? stats_.decode_seconds : stats_.prefill_seconds) +=
      round.done.seconds_since(clock_);
  clock_ = std::move(round.done);
  const int32_t* tokens = round.drawn.const_data_ptr<int32_t>();
  const int32_t* logprobs = tokens + round.drawn.stride(0);
  std::vector<StreamedToken> streamed;
  std::vector<DeviceSample*> drew;
  for (size_t i = 0; i < round.samples.size(); ++i) {
    DeviceSample& sample = *round.samples[i];
    if (sample.ended) continue;
    if (tokens[i] < 0)
      throw Error(
          ErrorCode::non_finite,
          "sample: no token has a finite logit; the model's weights or activations overflowed. "
          "Fetch the model again, or train it with a lower learning rate.");
    float logprob;
    std::memcpy(&logprob, logprobs + i, sizeof logprob);
    sample.sequence.tokens.push_back(tokens[i]);
    sample.sequence.logprobs.push_back(logprob);
    if (request_.stream_tokens)
      streamed.push_back(
          {sample.sequence.prefill->prompt_index, sample.sequence.key.sample, tokens[i]});
    drew.push_back(&sample);
  }
  if (drew.empty()) return;
  stats_.completion_tokens += drew.size();
  if (!streamed.empty() && callbacks_.on_tokens) callbacks_.on_tokens(std::move(streamed));
  for (DeviceSample* sample : drew) {
    if (const auto reason = stop_.finished(sample->sequence)) deliver(*sample, *reason);
  }
  progress_.tokens = stats_.completion_tokens;
  if (callbacks_.on_progress) callbacks_.on_progress(progress_);
}

void DeviceGenerator::deliver(DeviceSample& sample, FinishReason reason) {
  sample.ended = true;
  ++progress_.done;
  Sequence& sequence = sample.sequence;
  if (callbacks_.on_completion)
    callbacks_.on_completion({sequence.prefill->prompt_index, sequence.key.sample,
                              std::move(sequence.tokens), std::move(sequence.logprobs), reason});
}

// Finished sequences leave the batch; entering ones join it with their first token drawn.
void DeviceGenerator::enter() {
  std::vector<DeviceSamplePtr> next;
  for (const DeviceSamplePtr& sample : batch_.samples()) {
    if (!sample->over()) next.push_back(sample);
  }
  const std::vector<DeviceSamplePtr> entering =
      admit(num_seqs_of(request_) - static_cast<int64_t>(next.size()));
  if (entering.empty() && next.size() == batch_.samples().size()) {
    if (next.empty() && rounds_.empty() && !queue_.empty())
      throw Error(ErrorCode::internal, "[generate] no pages are free though nothing runs.");
    return;
  }
  prefill(entering);
  place(entering);
  const ops::DecodeStep staged = batch_.stage(entering);
  if (!entering.empty()) draw_first(entering, staged);
  for (const DeviceSamplePtr& sample : entering) {
    if (!sample->over()) next.push_back(sample);
  }
  batch_.arrange(std::move(next), staged);
}

// Takes the next sequences while the batch and the pool of pages allow it.
std::vector<DeviceSamplePtr> DeviceGenerator::admit(int64_t free_seqs) {
  std::vector<DeviceSamplePtr> entering;
  while (static_cast<int64_t>(entering.size()) < free_seqs && !queue_.empty()) {
    const int64_t limit = stop_.max_new_tokens(queue_.prompt());
    const PageNeed need(queue_.prompt(), limit, queue_.last_of_prompt());
    const bool first = queue_.first_of_prompt();
    if (need.own + (first ? need.prompt : 0) > cache_.pool().free()) break;
    auto sample = std::make_shared<DeviceSample>();
    sample->sequence = queue_.take();
    sample->limit = limit;
    if (first) sample->sequence.prefill->pages = Pages(cache_.pool(), need.prompt);
    sample->pages = Pages(cache_.pool(), need.own);
    entering.push_back(std::move(sample));
  }
  return entering;
}

// Computes the prompts of the sequences that just entered: several per pass, or a long one in
// chunks of whole pages.
void DeviceGenerator::prefill(const std::vector<DeviceSamplePtr>& entering) {
  std::vector<Prefill*> prompts;
  for (const DeviceSamplePtr& sample : entering) prompts.push_back(sample->sequence.prefill.get());
  const int64_t bound = request_.prefill_tokens > 0 ? request_.prefill_tokens : kPrefillTokens;
  const int64_t chunk = std::max(page_size, bound / page_size * page_size);
  for (const auto& pass : prefill_passes(prompts, bound)) {
    PrefillRows rows;
    std::vector<int64_t> predicting;
    int64_t first = 0;  // of a long prompt
    for (; pass.size() == 1 && pass[0]->length() - first > chunk; first += chunk) {
      rows.add(*pass[0], first, chunk);
      prefill_pass(std::exchange(rows, {}), {});
    }
    for (const Prefill* prompt : pass) {
      rows.add(*prompt, first, prompt->length() - first);
      predicting.push_back(rows.size() - 1);
    }
    const Tensor logits = prefill_pass(rows, predicting);  // [prompts, vocab]
    for (size_t i = 0; i < pass.size(); ++i)
      pass[i]->logits = logits.select(0, static_cast<int64_t>(i));
  }
}

// Logits [predicting, vocab] fp32 of these rows; undefined where `predicting` is empty.
Tensor DeviceGenerator::prefill_pass(const PrefillRows& rows,
                                     const std::vector<int64_t>& predicting) {
  cancel_.check();
  PagedPrefill attention(cache_, rows);
  const Tensor hidden =
      model_.forward({upload(rows.tokens, device_), upload(rows.positions, device_)},
                     attention);  // [rows, hidden]
  stats_.prompt_tokens += static_cast<uint64_t>(rows.size());
  if (predicting.empty()) return {};
  return ops::linear_f32(hidden.index_select(0, upload(predicting, device_)),
                         model_.weights().head);
}

// Where a prompt's last page is not full, each sequence continues in a copy of it; the prompt's
// last sequence continues in the page itself.
void DeviceGenerator::place(const std::vector<DeviceSamplePtr>& entering) {
  std::vector<int32_t> from, to;
  for (const DeviceSamplePtr& sample : entering) {
    Prefill& prompt = *sample->sequence.prefill;
    const bool last = last_of_prompt(sample->sequence);
    if (!PageNeed(*prompt.prompt, sample->limit, last).partial) continue;
    if (last) {
      sample->pages.take_last_of(prompt.pages);
    } else {
      from.push_back(prompt.pages[prompt.pages.size() - 1]);
      to.push_back(sample->pages[0]);
    }
  }
  if (!from.empty()) ops::copy_pages(cache_.storage(), upload(from, device_), upload(to, device_));
}

void DeviceGenerator::draw_first(const std::vector<DeviceSamplePtr>& entering,
                                 const ops::DecodeStep& staged) {
  std::vector<Tensor> logits;
  for (const DeviceSamplePtr& sample : entering) logits.push_back(sample->sequence.prefill->logits);
  const int64_t count = static_cast<int64_t>(entering.size());
  const ops::DecodeStep rows = staged.first(count);
  ops::advance(rows, request_.sampling, page_size, /*from_prompt=*/true);
  ops::draw(rows, at::stack(logits), banned_);  // [entering, vocab]
  for (const DeviceSamplePtr& sample : entering) {
    if (last_of_prompt(sample->sequence)) sample->sequence.prefill->logits.reset();
  }
  ask(entering, rows.drawn, /*decoded=*/false);
}

}  // namespace

GenerationStats generate_on_device(const Transformer& model, const GenerationRequest& request,
                                   const GenerationCallbacks& callbacks, const Cancel& cancel) {
  return DeviceGenerator(model, request, callbacks, cancel).run();
}

}  // namespace cream
