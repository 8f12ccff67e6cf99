// Learning-rate schedules: transformers' get_{constant,linear,cosine}_schedule_with_warmup.
#pragma once

#include "support/types.h"

namespace cream {

double learning_rate_at(const OptimizerParams& params, int64_t step);  // step counts from 0

}  // namespace cream
