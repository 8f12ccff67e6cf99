// The pointers of a state, for the kernels that know its small forms.
#pragma once

#include "ops/adamw/kernel.h"
#include "ops/adamw/op.h"

namespace cream::ops {

AdamWForms forms_of(const AdamWState& state);

}  // namespace cream::ops
