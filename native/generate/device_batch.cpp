#include "generate/device_batch.h"

#include "support/transfer.h"

namespace cream {

int64_t row_bucket(int64_t num_seqs) {
  int64_t bucket = 1;
  while (bucket < num_seqs && bucket < 8) bucket *= 2;
  return bucket >= num_seqs ? bucket : (num_seqs + 7) / 8 * 8;
}

DeviceBatch::DeviceBatch(int64_t max_num_seqs, int64_t max_pages, at::Device device)
    : device_(device),
      step_(row_bucket(max_num_seqs), max_pages, device),
      groups_(at::zeros({step_.size(), 3}, at::TensorOptions(device).dtype(at::kInt))) {}

int64_t DeviceBatch::longest() const {
  int64_t length = 0;
  for (const DeviceSamplePtr& s : samples_)
    length = std::max(length, s->prompt_length() + s->launched);
  return length;
}

ops::DecodeStep DeviceBatch::stage(const std::vector<DeviceSamplePtr>& entering) const {
  const int64_t count = static_cast<int64_t>(entering.size()) + 1;
  const int64_t max_pages = step_.page_table.size(1);
  std::vector<int64_t> states;
  std::vector<int32_t> table(static_cast<size_t>(count * max_pages));
  for (size_t i = 0; i < entering.size(); ++i) {
    DeviceSample& s = *entering[i];
    s.slot = step_.size() + static_cast<int64_t>(i);
    ops::append_state({s.sequence.key, s.prompt_length()}, states);
    int32_t* pages = table.data() + static_cast<int64_t>(i) * max_pages;
    const int64_t shared = s.prompt_length() / page_size;
    for (int64_t p = 0; p < shared; ++p) pages[p] = s.sequence.prefill->pages[p];
    for (int64_t p = 0; p < s.pages.size(); ++p) pages[shared + p] = s.pages[p];
  }
  ops::append_state({}, states);
  ops::DecodeStep staged(count, max_pages, device_);
  staged.state = upload(states, device_).view({count, -1});
  staged.page_table = upload(table, device_).view({count, max_pages});
  return staged;
}

void DeviceBatch::arrange(std::vector<DeviceSamplePtr> next, const ops::DecodeStep& staged) {
  std::vector<int64_t> from(static_cast<size_t>(step_.size()), step_.size() + staged.size() - 1);
  for (size_t i = 0; i < next.size(); ++i) {
    from[i] = next[i]->slot;
    next[i]->slot = static_cast<int64_t>(i);
  }
  samples_ = std::move(next);
  const Tensor order = upload(from, device_);
  step_.state.copy_(at::cat({step_.state, staged.state}).index_select(0, order));
  step_.page_table.copy_(at::cat({step_.page_table, staged.page_table}).index_select(0, order));
  step_.drawn.copy_(at::cat({step_.drawn, staged.drawn}, 1).index_select(1, order));
  groups_.copy_(upload(grouped(), device_).view({-1, 3}));
}

// Groups of adjacent sequences with one prompt: first row, size, number of shared pages.
std::vector<int32_t> DeviceBatch::grouped() const {
  std::vector<int32_t> groups(static_cast<size_t>(3 * step_.size()));
  size_t group = 0;
  for (size_t first = 0, end; first < samples_.size(); first = end, ++group) {
    const Prefill* prompt = samples_[first]->sequence.prefill.get();
    for (end = first; end < samples_.size() && samples_[end]->sequence.prefill.get() == prompt;)
      ++end;
    groups[3 * group] = static_cast<int32_t>(first);
    groups[3 * group + 1] = static_cast<int32_t>(end - first);
    groups[3 * group + 2] = static_cast<int32_t>(samples_[first]->prompt_length() / page_size);
  }
  return groups;
}

}  // namespace cream
