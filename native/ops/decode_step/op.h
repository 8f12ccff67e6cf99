// The state of the running sequences on the device, and the inputs of a decode step.
#pragma once

#include <cstdint>
#include <vector>

#include "support/torch.h"
#include "support/types.h"

namespace cream::ops {

// The state of a sequence that enters.
struct NewRow {
  SampleKey key;
  int64_t prompt_length = 0;  // 0: an idle row
  SamplingParams sampling;
};

struct DecodeStep {
  Tensor state;       // [rows, 9] int64, one DecodeRow each
  Tensor drawn;       // [2, rows] int32: last tokens; bits of their fp32 log-probs
  Tensor page_table;  // [rows, max_pages] int32
  Tensor banned;      // [rows, max_banned] int32: stop ids that min_new_tokens bans
  // Written by advance() for the next step.
  Tensor inputs, positions;  // [rows] int64
  Tensor pages, slots,
      lengths;   // [rows] int32: page and slot of the new key and value; length with them
  Tensor draws;  // [rows, 5] int64, one SampleRow each

  DecodeStep() = default;
  DecodeStep(int64_t rows, int64_t max_pages, int64_t max_banned, at::Device device);  // idle rows
  DecodeStep first(int64_t rows) const;  // the same memory
  int64_t size() const { return state.size(0); }
};

// Appends the row's entry of `state` to `words`.
void append_state(const NewRow& row, std::vector<int64_t>& words);

// The number of ids that a row with `sampling` bans, which is the size of its entry in `banned`.
int64_t banned_ids(const SamplingParams& sampling);

// Writes the inputs and draws for the next token of every row. `from_prompt`: for the first token,
// whose logits the prefill has computed.
void advance(const DecodeStep& rows, int64_t page_size, bool from_prompt);

// Draws one token per row from logits [rows, vocab] fp32 with the draws of advance(). A row without
// a finite logit draws −1.
void draw(const DecodeStep& rows, const Tensor& logits);

}  // namespace cream::ops
