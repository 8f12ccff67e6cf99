// The running sequences of a device. Their states live in buffers with fixed addresses, packed to
// the front, with sequences of one prompt adjacent. A sequence's state is uploaded once, when it
// enters; later changes upload only a permutation.
#pragma once

#include <memory>
#include <vector>

#include "generate/scheduler.h"
#include "ops/decode_step/op.h"

namespace cream {

struct DeviceSample {
  Sequence sequence;     // its tokens are those that the host has received
  Pages pages;           // its own pages, after the prompt's full ones
  int64_t limit = 0;     // most new tokens
  int64_t launched = 0;  // tokens requested from the device, received or not
  bool ended = false;    // known to the host; tokens drawn after the end are dropped
  int64_t slot = -1;     // row in the batch, or batch size + index among entering sequences

  int64_t prompt_length() const { return sequence.prefill->length(); }
  bool over() const { return ended || launched == limit; }
};
using DeviceSamplePtr = std::shared_ptr<DeviceSample>;

// Batch size of a decode step for this many sequences: 1, 2, 4, 8, 16, 24, 32, … Surplus rows idle.
int64_t row_bucket(int64_t num_seqs);

class DeviceBatch {
 public:
  DeviceBatch(int64_t max_num_seqs, int64_t max_pages, at::Device device);

  const std::vector<DeviceSamplePtr>& samples() const { return samples_; }
  const ops::DecodeStep& decode_step() const { return step_; }
  const Tensor& groups() const { return groups_; }  // [rows, 3] int32, see PagedRows
  int64_t longest() const;  // most positions that a sequence attends to in the next step

  // States of sequences that have drawn no token yet, followed by one idle row.
  ops::DecodeStep stage(const std::vector<DeviceSamplePtr>& entering) const;
  // Makes `next` the running sequences; each is in the batch already or in `staged`.
  void arrange(std::vector<DeviceSamplePtr> next, const ops::DecodeStep& staged);

 private:
  std::vector<int32_t> grouped() const;

  at::Device device_;
  std::vector<DeviceSamplePtr> samples_;
  ops::DecodeStep step_;
  Tensor groups_;
};

}  // namespace cream
