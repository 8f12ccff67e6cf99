// generate() on a device.
#pragma once

#include "generate/generator.h"

namespace cream {

// As generate(), whose checks the request has passed. Throws Error{out_of_memory} before any work
// if a sequence of the request does not fit request.most_pages even alone.
GenerationStats generate_on_device(const Transformer& model, const GenerationRequest& request,
                                   const GenerationCallbacks& callbacks, const Cancel& cancel);

}  // namespace cream
