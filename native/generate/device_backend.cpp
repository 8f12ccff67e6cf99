// Generation on a device: pages of keys and values, and decode steps over buffers with fixed
// addresses, which CUDA captures as graphs.
//
// A sequence reserves pages for all its possible tokens when it enters, so a running sequence never
// waits and is never preempted. The bounds on rows, pages and prefill tokens are those of the
// request that found the device empty; the cache grows up to them as requests join.
#include <numeric>

#include "generate/backend.h"
#include "generate/device_batch.h"
#include "generate/paged_attention.h"
#include "generate/scheduler.h"
#include "generate/top_logprobs.h"
#include "ops/pages/op.h"
#include "support/error.h"
#include "support/step_graph.h"
#include "support/transfer.h"

namespace cream {

namespace {

constexpr int64_t kDevicePrefillTokens = 4096;  // a longer prompt is cut into chunks
constexpr int64_t kShortest = 256;              // decode steps cover 256, 512, 1024, … positions
constexpr int64_t kUnbounded = std::numeric_limits<int64_t>::max();

int64_t bound(int64_t most) { return most > 0 ? most : kUnbounded; }

// The pages of a sequence: those of its prompt, and its own for all new tokens but the last, which
// no step reads.
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
  explicit PageNeed(const Sequence& s) : PageNeed(*s.prefill->prompt, s.limit, last_of_prompt(s)) {}
};

class DeviceBackend : public Backend {
 public:
  explicit DeviceBackend(const Transformer& model)
      : model_(model),
        device_(model.weights().embedding.weight.device()),
        batch_(device_),
        graph_(std::in_place, device_) {}

  size_t in_flight() const override { return 1; }
  int64_t most_rows() const override { return most_rows_; }
  int64_t prefill_tokens() const override { return prefill_tokens_; }
  int64_t most_sequences(const GenerationRequest& request) const override {
    return std::min(request.max_num_seqs, std::max<int64_t>(sample_count(request), 1));
  }

  void check(const Generation& generation) const override;
  bool reserve(Sequence& sequence) override;
  void prefill(const Sequences& sequences) override;
  Tensor first_tokens(const Sequences& entering) override;
  void arrange(const Sequences& running) override;
  Tensor decode(const Sequences& running) override;
  std::string graph_failure() const override { return graph_->failure(); }

 private:
  void start(const Generation& generation);
  void grow(const Generation& generation);
  void place(const Sequences& entering);
  Tensor prefill_pass(const PrefillRows& rows, const std::vector<int64_t>& predicting);

  const Transformer& model_;
  const at::Device device_;
  std::optional<PagedCache> cache_;
  DeviceBatch batch_;
  std::optional<StepGraph> graph_;
  int64_t graph_version_ = 0;  // of the batch that the graphs were captured with
  int64_t most_rows_ = kUnbounded, most_pages_ = kUnbounded, prefill_tokens_ = kDevicePrefillTokens;
};

// Worst-case page demand for max_num_seqs sequences, each of another prompt, plus one prompt in
// prefill; at most request.most_pages.
int64_t pages_wanted(const Generation& generation) {
  const GenerationRequest& request = generation.request;
  std::vector<int64_t> prompts, samples;
  int64_t largest = 0;
  for (const GenerationPrompt& p : request.prompts) {
    const PageNeed need(p, generation.stop.max_new_tokens(p), false);
    prompts.push_back(need.prompt);
    samples.insert(samples.end(),
                   std::min<uint64_t>(p.samples, static_cast<uint64_t>(request.max_num_seqs)),
                   need.own);
    largest = std::max(largest, need.prompt);
  }
  const auto sum_of_largest = [&](std::vector<int64_t>& counts) {
    std::sort(counts.rbegin(), counts.rend());
    return std::accumulate(counts.begin(),
                           counts.begin() + std::min<int64_t>(request.max_num_seqs,
                                                              static_cast<int64_t>(counts.size())),
                           int64_t{0});
  };
  const int64_t pages =
      std::max<int64_t>(1, sum_of_largest(prompts) + largest + sum_of_largest(samples));
  return std::min(pages, bound(request.most_pages));
}

void DeviceBackend::check(const Generation& generation) const {
  const GenerationRequest& request = generation.request;
  for (size_t i = 0; i < request.prompts.size(); ++i) {
    const GenerationPrompt& prompt = request.prompts[i];
    const int64_t limit = generation.stop.max_new_tokens(prompt);
    const PageNeed need(prompt, limit, prompt.samples == 1);
    if (need.prompt + need.own <= bound(request.most_pages)) continue;
    throw Error(ErrorCode::out_of_memory,
                "[generate] prompt " + std::to_string(i) + " of " +
                    std::to_string(prompt.tokens.size()) + " tokens needs " +
                    std::to_string(need.prompt + need.own) + " pages of keys and values for " +
                    std::to_string(limit) + " new tokens, but the device's cache has " +
                    std::to_string(request.most_pages) +
                    ": shorten the prompt, or lower max_new_tokens.");
  }
}

// Sizes the cache and the bounds for a request that has the device to itself.
void DeviceBackend::start(const Generation& generation) {
  const GenerationRequest& request = generation.request;
  cache_.reset();
  graph_.emplace(device_);
  cache_.emplace(model_.config(), model_.dtype(), device_, pages_wanted(generation));
  most_rows_ = bound(generation.most_rows);
  most_pages_ = bound(request.most_pages);
  prefill_tokens_ = request.prefill_tokens > 0 ? request.prefill_tokens : kDevicePrefillTokens;
  int64_t pages = 1;
  for (const GenerationPrompt& p : request.prompts)
    pages = std::max(pages, pages_of(static_cast<int64_t>(p.tokens.size()) +
                                     generation.stop.max_new_tokens(p) - 1));
  batch_.fit(std::min(most_sequences(request), most_rows_), pages,
             ops::banned_ids(request.sampling));
}

// Adds the pages that a joining request may need. If the device has no memory for them, its
// sequences wait for pages of other sequences.
void DeviceBackend::grow(const Generation& generation) {
  const int64_t pages = std::min(
      most_pages_, std::max(cache_->pages() + pages_wanted(generation), 2 * cache_->pages()));
  if (pages <= cache_->pages()) return;
  try {
    cache_->grow(pages);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::out_of_memory) throw;
    most_pages_ = cache_->pages();
    return;
  }
  graph_.emplace(device_);  // the graphs hold the old cache's address
}

bool DeviceBackend::reserve(Sequence& sequence) {
  const Generation& generation = *sequence.generation;
  const PageNeed need(sequence);
  const bool first = first_of_prompt(sequence);
  const int64_t pages = need.own + (first ? need.prompt : 0);
  const bool empty = !cache_ || cache_->pool().free() == cache_->pages();
  if (empty && (!cache_ || pages > cache_->pages() ||
                cache_->pages() > bound(generation.request.most_pages)))
    start(generation);
  if (pages > cache_->pool().free()) grow(generation);
  if (pages > cache_->pool().free()) return false;
  if (first) sequence.prefill->pages = Pages(cache_->pool(), need.prompt);
  sequence.pages = Pages(cache_->pool(), need.own);
  return true;
}

// Several prompts in one pass, or a long one in chunks of whole pages.
void DeviceBackend::prefill(const Sequences& sequences) {
  const int64_t chunk = std::max(page_size, prefill_tokens_ / page_size * page_size);
  PrefillRows rows;
  std::vector<int64_t> predicting;
  int64_t first = 0;  // first position of the current chunk of a long prompt
  const Prefill& longest = *sequences[0]->prefill;
  for (; sequences.size() == 1 && longest.length() - first > chunk; first += chunk) {
    sequences[0]->generation->cancel->check();
    rows.add(longest, first, chunk);
    prefill_pass(std::exchange(rows, {}), {});
  }
  for (const SequencePtr& sequence : sequences) {
    const Prefill& prompt = *sequence->prefill;
    rows.add(prompt, first, prompt.length() - first);
    predicting.push_back(rows.size() - 1);
  }
  const Tensor logits = prefill_pass(rows, predicting);  // [prompts, vocab]
  for (size_t i = 0; i < sequences.size(); ++i)
    sequences[i]->prefill->logits = logits.select(0, static_cast<int64_t>(i));
}

// Logits [predicting, vocab] fp32 of these rows; undefined where `predicting` is empty.
Tensor DeviceBackend::prefill_pass(const PrefillRows& rows,
                                   const std::vector<int64_t>& predicting) {
  PagedPrefill attention(*cache_, rows);
  const Tensor hidden =
      model_.forward({upload(rows.tokens, device_), upload(rows.positions, device_)},
                     attention);  // [rows, hidden]
  if (predicting.empty()) return {};
  return ops::linear_f32(hidden.index_select(0, upload(predicting, device_)),
                         model_.weights().head);
}

// If a prompt's last page is not full, each sequence continues in a copy of it, but the prompt's
// last sequence continues in the page itself.
void DeviceBackend::place(const Sequences& entering) {
  std::vector<int32_t> from, to;
  for (const SequencePtr& sequence : entering) {
    Prefill& prompt = *sequence->prefill;
    if (!PageNeed(*sequence).partial) continue;
    if (last_of_prompt(*sequence)) {
      sequence->pages.take_last_of(prompt.pages);
    } else {
      from.push_back(prompt.pages[prompt.pages.size() - 1]);
      to.push_back(sequence->pages[0]);
    }
  }
  if (!from.empty()) ops::copy_pages(cache_->storage(), upload(from, device_), upload(to, device_));
}

Tensor DeviceBackend::first_tokens(const Sequences& entering) {
  place(entering);
  std::vector<Tensor> logits;
  int64_t pages = 0, banned = 0;
  for (const SequencePtr& sequence : entering) {
    logits.push_back(sequence->prefill->logits);
    pages = std::max(pages, table_pages(*sequence));
    banned = std::max(banned, banned_ids(*sequence));
  }
  batch_.fit(0, pages, banned);
  const ops::DecodeStep rows = batch_.stage(entering);
  ops::advance(rows, page_size, /*from_prompt=*/true);
  const Tensor stacked = at::stack(logits);  // [entering, vocab]
  ops::draw(rows, stacked);
  const int64_t top = most_top_logprobs(entering);
  return download(top == 0 ? rows.drawn : at::cat({rows.drawn, top_logprobs(stacked, top)}));
}

void DeviceBackend::arrange(const Sequences& running) { batch_.arrange(running); }

Tensor DeviceBackend::decode(const Sequences& running) {
  const int64_t live = static_cast<int64_t>(running.size());
  int64_t longest = 0;  // most positions that a sequence attends to in this step
  for (const SequencePtr& s : running)
    longest = std::max(longest, s->prefill->length() + s->launched);
  int64_t positions = kShortest;
  while (positions < longest) positions *= 2;
  const int64_t rows = row_bucket(live);  // with idle rows
  if (graph_version_ != batch_.version()) graph_.emplace(device_);
  graph_version_ = batch_.version();
  const auto step = [&] {
    const ops::DecodeStep part = batch_.decode_step().first(rows);
    ops::advance(part, page_size, /*from_prompt=*/false);
    PagedDecode attention(*cache_, part, batch_.groups().narrow(0, 0, rows),
                          std::min(positions, part.page_table.size(1) * page_size));
    const Tensor hidden =
        model_.forward({part.inputs, part.positions}, attention);  // [rows, hidden]
    const Tensor logits = ops::linear_f32(hidden, model_.weights().head);
    ops::draw(part, logits);
    return logits;
  };
  const Tensor drawn = batch_.decode_step().drawn.narrow(1, 0, live);
  const int64_t top = most_top_logprobs(running);
  if (top == 0) {
    graph_->run(positions << 20 | rows, step);
    return download(drawn);
  }
  // A captured step must not give its logits away.
  return download(at::cat({drawn, top_logprobs(step().narrow(0, 0, live), top)}));
}

}  // namespace

std::unique_ptr<Backend> device_backend(const Transformer& model) {
  return std::make_unique<DeviceBackend>(model);
}

}  // namespace cream
