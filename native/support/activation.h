// Separate from types.h, because kernels for one instruction set must not include headers with
// inline functions.
#pragma once

namespace cream {

// Activation of the MLP's gate; gelu_tanh is Hugging Face's gelu_pytorch_tanh.
enum class Activation { silu, gelu_tanh };

}  // namespace cream
