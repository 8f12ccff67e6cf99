// What is asked for, where a choice is left open filled in and where a device's memory does not
// have room for it made smaller: on a device by engine/plan.h, elsewhere what is fast on a CPU.
// Nothing of it changes a result but for the order of adding up.
#pragma once

#include "engine/shared_model.h"
#include "support/types.h"

namespace cream {

// The model that works, and what its trainer keeps beside it meanwhile.
struct Place {
  const SharedModel& model;
  uint64_t trainer_bytes = 0;
};

TrainerParams fitted(TrainerParams params, const Place& place);
GenerationRequest fitted(GenerationRequest generation,
                         const Place& place);  // rows, pages, tokens of a prefill pass
ScoringRequest fitted(ScoringRequest scoring, const Place& place);
ClassificationRequest fitted(ClassificationRequest classification, const Place& place);

}  // namespace cream
