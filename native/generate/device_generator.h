// generate() on a device.
#pragma once

#include "generate/generator.h"

namespace cream {

// As generate(), for a request that has passed generate()'s checks. Throws Error{out_of_memory}
// before any work if one sequence alone needs more than request.most_pages.
GenerationStats generate_on_device(const Transformer& model, const GenerationRequest& request,
                                   const GenerationCallbacks& callbacks, const Cancel& cancel);

}  // namespace cream
