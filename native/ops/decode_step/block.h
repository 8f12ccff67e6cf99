// Inputs of a decode step, computed from the sequences' states in device memory: no value is copied
// to the device between two steps of the same sequences, and the launches do not depend on the
// tokens.
//
//   position of the last token   prompt_length + drawn − 1
//   its page                     page_table[position / page_size]
//   u of the next draw           uniform(key, drawn)
//   stop ids                     banned while drawn < min_new_tokens
//
// A row carries its own sampling settings, so sequences of different requests share a step.
#pragma once

#include "ops/sample/row.h"
#include "support/block.h"
#include "support/random.h"

namespace cream::ops {

// One running sequence.
struct DecodeRow {
  SampleKey key;
  double temperature, top_p;
  int64_t top_k;
  int32_t min_new_tokens, banned;  // banned: number of ids banned until then
  int32_t prompt_length;           // 0: an idle row
  int32_t drawn;                   // tokens so far; advanced by every draw
};
static_assert(sizeof(DecodeRow) == 72 && sizeof(SampleRow) == 40, "states are tensors of int64");

struct DecodeStepBlock {
  DecodeRow* state;                  // [rows]
  const int32_t* tokens;             // [rows], drawn last
  const int32_t* page_table;         // [rows, max_pages]
  int64_t *inputs, *positions;       // out [rows]; inputs null: the first draw, from the
                                     // prompt's logits
  int32_t *pages, *slots, *lengths;  // out [rows]; an idle row: −1, 0, 0
  SampleRow* draws;                  // out [rows]
  int64_t rows, max_pages, max_banned, page_size;

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    block.each(rows, [&](int64_t i) {
      DecodeRow& row = state[i];
      const bool runs = row.prompt_length > 0;
      if (inputs) {
        const int32_t position = runs ? row.prompt_length + row.drawn - 1 : 0;
        // A row without a finite logit drew −1. The host reports it one step later; until then the
        // row reads token 0.
        inputs[i] = runs && tokens[i] > 0 ? tokens[i] : 0;
        positions[i] = position;
        pages[i] = runs ? page_table[i * max_pages + position / page_size] : -1;
        slots[i] = static_cast<int32_t>(position % page_size);
        lengths[i] = runs ? position + 1 : 0;
      }
      const double u = runs ? uniform(row.key, static_cast<uint32_t>(row.drawn)) : 0;
      draws[i] = SampleRow{row.temperature,
                           row.top_p,
                           u,
                           row.top_k,
                           static_cast<int32_t>(i * max_banned),
                           row.drawn < row.min_new_tokens ? row.banned : 0};
      if (runs) ++row.drawn;
    });
  }
};

}  // namespace cream::ops
