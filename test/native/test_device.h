// Where the cases that try what a GPU runs put their tensors: the played device (played_device.h), or what `cream_check --device cuda` names.
#pragma once

#include <string>

#include "support/torch.h"

namespace check {

at::Device test_device();
// Throws cream::Error for a device that is not there.
void set_test_device(const std::string& name);

}  // namespace check
