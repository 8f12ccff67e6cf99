// Raw pointers of an AdamWState, for the kernels of the small state forms.
#pragma once

#include "ops/adamw/kernel.h"
#include "ops/adamw/op.h"

namespace cream::ops {

AdamWForms forms_of(const AdamWState& state);

}  // namespace cream::ops
