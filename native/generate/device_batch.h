// The running sequences of a device. Their states live in buffers with fixed addresses, packed to
// the front, with sequences of one prompt adjacent. A sequence's state is uploaded once, when it
// enters; later changes upload only a permutation.
#pragma once

#include "generate/sequence.h"
#include "ops/decode_step/op.h"

namespace cream {

// Batch size of a decode step for this many sequences: 1, 2, 4, 8, 16, 24, 32, … Surplus rows idle.
int64_t row_bucket(int64_t num_seqs);

class DeviceBatch {
 public:
  explicit DeviceBatch(at::Device device) : device_(device) {}

  const ops::DecodeStep& decode_step() const { return step_; }
  const Tensor& groups() const { return groups_; }  // [rows, 4] int32, see PagedRows
  // Changes with the buffers' addresses and sizes.
  int64_t version() const { return version_; }

  // Makes room for this many sequences, pages per sequence and banned ids per sequence.
  void fit(int64_t num_seqs, int64_t max_pages, int64_t max_banned);
  // Uploads the states of sequences that have drawn no token yet and returns their rows; arrange()
  // must come next.
  ops::DecodeStep stage(const Sequences& entering);
  // Makes `next` the running sequences; each is in the batch already or was staged last.
  void arrange(const Sequences& next);

 private:
  ops::DecodeStep staged(const Sequences& entering) const;

  at::Device device_;
  ops::DecodeStep step_, staged_;  // staged_: the entering sequences and one idle row
  Tensor groups_;
  int64_t version_ = 0;
};

// Pages and banned ids that a sequence's row holds.
int64_t table_pages(const Sequence& sequence);
int64_t banned_ids(const Sequence& sequence);

}  // namespace cream
