// Fills in the sizes that a request leaves open, and lowers those that exceed the device's memory.
// On a device the memory plan (engine/plan.h) chooses them, after models without work have left it
// where they were in the way (engine/turn.h); on the CPU the defaults are used. Results change only
// by the order of floating-point sums.
#pragma once

#include "engine/shared_model.h"
#include "engine/turn.h"
#include "generate/sequence.h"
#include "support/types.h"

namespace cream {

// The model that a request runs on, the bytes that its trainer keeps on the device, the ranks that
// train together, and the model's turn, to ask others for memory.
struct Place {
  const SharedModel& model;
  uint64_t trainer_bytes = 0;
  int64_t ranks = 1;
  Turn* turn = nullptr;
};

TrainerParams fitted(TrainerParams params, const Place& place);
// Sets max_num_seqs and, on a device, the bounds for all requests that run together.
BoundedRequest fitted(GenerationRequest generation, const Place& place);
ScoringRequest fitted(ScoringRequest scoring, const Place& place);
ClassificationRequest fitted(ClassificationRequest classification, const Place& place);

}  // namespace cream
