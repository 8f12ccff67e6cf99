// Apart from types.h: kernels for one instruction set include no header with inline functions.
#pragma once

namespace cream {

enum class Activation {
  silu,
  gelu_tanh
};  // of the MLP's gate; gelu_tanh: Hugging Face's gelu_pytorch_tanh

}  // namespace cream
