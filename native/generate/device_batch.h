// The samples that decode together on a device: their states in buffers that stay where they are,
// packed to the front, samples of one prompt neighbours. A sample's state crosses to the device
// once, when it enters; afterwards only orders do.
#pragma once

#include <memory>
#include <vector>

#include "generate/scheduler.h"
#include "ops/decode_step/op.h"

namespace cream {

struct DeviceSample {
  Sequence row;          // its tokens: those that the host has seen
  Pages pages;           // of its own, behind the prompt's full ones
  int64_t limit = 0;     // tokens it may have
  int64_t launched = 0;  // tokens that the device was asked for, seen or not
  bool ended = false;    // as the host knows; what was drawn behind the end is dropped
  int64_t slot = -1;     // row in the batch; from its size on: among those that enter

  int64_t prompt_length() const { return row.prefill->length(); }
  bool over() const { return ended || launched == limit; }
};
using DeviceSamplePtr = std::shared_ptr<DeviceSample>;

// Decode steps run with these numbers of rows, the ones too many idle: 1, 2, 4, 8, 16, 24, 32, …
int64_t row_bucket(int64_t rows);

class DeviceBatch {
 public:
  DeviceBatch(int64_t max_num_seqs, int64_t max_pages, at::Device device);

  const std::vector<DeviceSamplePtr>& samples() const { return samples_; }
  const ops::DecodeStep& rows() const { return rows_; }
  const Tensor& groups() const { return groups_; }  // [rows, 3] int32, see PagedRows
  int64_t longest() const;                          // positions that some row sees in the next step

  // States of samples that have drawn nothing yet, and one idle row behind them.
  ops::DecodeStep stage(const std::vector<DeviceSamplePtr>& entering) const;
  // These decode from now on: samples of the batch or `staged`.
  void arrange(std::vector<DeviceSamplePtr> next, const ops::DecodeStep& staged);

 private:
  std::vector<int32_t> grouped() const;

  at::Device device_;
  std::vector<DeviceSamplePtr> samples_;
  ops::DecodeStep rows_;
  Tensor groups_;
};

}  // namespace cream
