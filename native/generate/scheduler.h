// Which samples decode together. Rows enter in prompt order, then sample order, whenever one is free, so the samples of a prompt
// stay neighbours and decode attention reads their shared keys once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/kv_cache.h"
#include "support/types.h"

namespace cream {

// A prompt's keys and values and what it predicts, from its first sample's start to its last sample's end.
struct Prefill {
  const GenerationPrompt* prompt = nullptr;  // the request outlives the run
  uint32_t prompt_index = 0;
  KvBlockPtr cache;             // null until computed; shared by all samples
  Tensor logits;                // [vocab] fp32 of the last row; dropped once the last sample has drawn its first token
};

// One sample in the making.
struct Row {
  std::shared_ptr<Prefill> prefill;
  SampleKey key;
  KvBlockPtr own;               // of the tokens but the last, which no step has read yet
  Tokens tokens;
  std::vector<float> logprobs;
  std::string tail;             // the last bytes of the text so far, where stop strings are wanted
  const float* logits = nullptr;  // [vocab] of the next token: valid within one step

  bool started() const { return !tokens.empty(); }
};

class Scheduler {
 public:
  explicit Scheduler(const GenerationRequest& request);

  // Fills the free rows with the next samples.
  void admit();
  // Takes rows out, keeping the order of those that stay. `finished` has one entry a row.
  std::vector<Row> retire(const std::vector<bool>& finished);

  std::vector<Row>& rows() { return rows_; }
  bool done() const { return rows_.empty() && next_prompt_ == request_.prompts.size(); }
  // Whether `row` is the last of its prompt to enter.
  bool last_of_prompt(const Row& row) const;

 private:
  const GenerationRequest& request_;
  size_t next_prompt_ = 0;
  uint32_t next_sample_ = 0;         // within the prompt, from 0
  std::shared_ptr<Prefill> current_; // the prompt whose samples are entering
  std::vector<Row> rows_;
};

}  // namespace cream
