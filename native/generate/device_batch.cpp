#include "generate/device_batch.h"

#include <algorithm>

#include "generate/scheduler.h"
#include "support/transfer.h"

namespace cream {

namespace {

// The groups of PagedRows for `rows` rows: adjacent sequences with one prompt.
std::vector<int32_t> grouped(const Sequences& sequences, int64_t rows) {
  std::vector<int32_t> groups(static_cast<size_t>(4 * rows));
  size_t group = 0;
  for (size_t first = 0, end; first < sequences.size(); first = end, ++group) {
    const Prefill* prompt = sequences[first]->prefill.get();
    for (end = first; end < sequences.size() && sequences[end]->prefill.get() == prompt;) ++end;
    const int32_t shared = static_cast<int32_t>(prompt->length() / page_size);
    groups[4 * group] = static_cast<int32_t>(first);
    groups[4 * group + 1] = static_cast<int32_t>(end - first);
    groups[4 * group + 2] = shared;
    for (size_t row = first; row < end && end - first > 1; ++row) groups[4 * row + 3] = shared;
  }
  return groups;
}

// Returns `present` if it is large enough, otherwise at least twice as much, so that many requests
// that join one by one rarely move the buffers.
int64_t grown(int64_t present, int64_t needed) {
  return needed <= present ? present : std::max(needed, 2 * present);
}

void copy_into(const Tensor& to, const Tensor& from) {
  Tensor part = to;
  for (int64_t dim = 0; dim < from.dim(); ++dim) part = part.narrow(dim, 0, from.size(dim));
  part.copy_(from);
}

}  // namespace

int64_t row_bucket(int64_t num_seqs) {
  int64_t bucket = 1;
  while (bucket < num_seqs && bucket < 8) bucket *= 2;
  return bucket >= num_seqs ? bucket : (num_seqs + 7) / 8 * 8;
}

int64_t table_pages(const Sequence& sequence) {
  return sequence.prefill->length() / page_size + sequence.pages.size();
}

int64_t banned_ids(const Sequence& sequence) {
  return ops::banned_ids(sequence.generation->request.sampling);
}

void DeviceBatch::fit(int64_t num_seqs, int64_t max_pages, int64_t max_banned) {
  const bool made = step_.state.defined();
  const int64_t rows = made ? step_.size() : 0, pages = made ? step_.page_table.size(1) : 0,
                banned = made ? step_.banned.size(1) : 0;
  const int64_t most_rows = row_bucket(grown(rows, num_seqs)),
                most_pages = std::max<int64_t>(1, grown(pages, max_pages)),
                most_banned = std::max<int64_t>(1, grown(banned, max_banned));
  if (most_rows == rows && most_pages == pages && most_banned == banned) return;
  ops::DecodeStep larger(most_rows, most_pages, most_banned, device_);
  if (made) {
    copy_into(larger.state, step_.state);
    copy_into(larger.page_table, step_.page_table);
    copy_into(larger.banned, step_.banned);
    copy_into(larger.drawn, step_.drawn);
  }
  step_ = std::move(larger);
  groups_ = at::zeros({most_rows, 4}, at::TensorOptions(device_).dtype(at::kInt));
  ++version_;
}

ops::DecodeStep DeviceBatch::stage(const Sequences& entering) {
  staged_ = staged(entering);
  return staged_.first(static_cast<int64_t>(entering.size()));
}

ops::DecodeStep DeviceBatch::staged(const Sequences& entering) const {
  const int64_t count = static_cast<int64_t>(entering.size()) + 1;
  const int64_t max_pages = step_.page_table.size(1), max_banned = step_.banned.size(1);
  std::vector<int64_t> states;
  std::vector<int32_t> table(static_cast<size_t>(count * max_pages)),
      banned(static_cast<size_t>(count * max_banned));
  for (size_t i = 0; i < entering.size(); ++i) {
    Sequence& s = *entering[i];
    const SamplingParams& sampling = s.generation->request.sampling;
    s.slot = -1 - static_cast<int64_t>(i);
    ops::append_state({s.key, s.prefill->length(), sampling}, states);
    int32_t* pages = table.data() + static_cast<int64_t>(i) * max_pages;
    const int64_t shared = s.prefill->length() / page_size;
    for (int64_t p = 0; p < shared; ++p) pages[p] = s.prefill->pages[p];
    for (int64_t p = 0; p < s.pages.size(); ++p) pages[shared + p] = s.pages[p];
    std::copy_n(sampling.stop_ids.begin(), banned_ids(s),
                banned.begin() + static_cast<int64_t>(i) * max_banned);
  }
  ops::append_state({}, states);
  ops::DecodeStep rows(count, max_pages, max_banned, device_);
  rows.state = upload(states, device_).view({count, -1});
  rows.page_table = upload(table, device_).view({count, max_pages});
  rows.banned = upload(banned, device_).view({count, max_banned});
  return rows;
}

void DeviceBatch::arrange(const Sequences& next) {
  fit(static_cast<int64_t>(next.size()), 0, 0);
  if (!staged_.state.defined()) staged_ = staged({});
  std::vector<int64_t> from(static_cast<size_t>(step_.size()), step_.size() + staged_.size() - 1);
  for (size_t i = 0; i < next.size(); ++i) {
    const int64_t slot = next[i]->slot;
    from[i] = slot >= 0 ? slot : step_.size() - 1 - slot;
    next[i]->slot = static_cast<int64_t>(i);
  }
  const Tensor order = upload(from, device_);
  const auto move = [&](const Tensor& rows, const Tensor& added, int64_t dim) {
    rows.copy_(at::cat({rows, added}, dim).index_select(dim, order));
  };
  move(step_.state, staged_.state, 0);
  move(step_.page_table, staged_.page_table, 0);
  move(step_.banned, staged_.banned, 0);
  move(step_.drawn, staged_.drawn, 1);
  groups_.copy_(upload(grouped(next, step_.size()), device_).view({-1, 4}));
  staged_ = {};
}

}  // namespace cream
