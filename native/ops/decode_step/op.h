// The states of the running samples, on the device, and what a decode step reads of them.
#pragma once

#include <cstdint>
#include <vector>

#include "support/torch.h"
#include "support/types.h"

namespace cream::ops {

// One sample as it enters.
struct NewRow {
  SampleKey key;
  int64_t prompt_length = 0;  // 0: an idle row
};

struct DecodeStep {
  Tensor state;       // [rows, 5] int64, a DecodeRow each
  Tensor drawn;       // [2, rows] int32: the tokens drawn last; the bits of their fp32 log-probs
  Tensor page_table;  // [rows, max_pages] int32
  // Written by advance() for the step that follows.
  Tensor inputs, positions;  // [rows] int64
  Tensor pages, slots,
      lengths;   // [rows] int32: where the new key and value go; the positions a row sees with them
  Tensor draws;  // [rows, 5] int64, a SampleRow each

  DecodeStep() = default;
  DecodeStep(int64_t rows, int64_t max_pages, at::Device device);  // idle rows
  DecodeStep first(int64_t rows) const;                            // the same memory
  int64_t size() const { return state.size(0); }
};

// `row`'s entry in `state`, behind what `words` has.
void append_state(const NewRow& row, std::vector<int64_t>& words);

// Makes the inputs and draws of the next token of every row. `from_prompt`: of its first one, whose
// logits are there already.
void advance(const DecodeStep& rows, const SamplingParams& sampling, int64_t page_size,
             bool from_prompt);

// Draws one token a row from logits [rows, vocab] fp32 as advance() has laid it down. banned: the
// stop ids, int32. A row without a finite logit draws −1.
void draw(const DecodeStep& rows, const Tensor& logits, const Tensor& banned);

}  // namespace cream::ops
