// Helpers of the launchers (cpu.cpp, launch.cpp): whether the fast kernel supports these tensors,
// and with which C++ type.
#pragma once

#include <initializer_list>

#include "ops/dispatch.h"
#include "support/device.h"
#include "support/parallel.h"
#include "support/torch.h"

namespace cream::ops {

// bf16 or fp32 on a CPU that has the kernels.
inline bool fast_dtype(const Tensor& x) {
  return fast_path() && x.device().is_cpu() &&
         (x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kFloat);
}
inline bool wants_gradient(std::initializer_list<Tensor> inputs) {
  return at::GradMode::is_enabled() &&
         std::any_of(inputs.begin(), inputs.end(),
                     [](const Tensor& t) { return t.requires_grad(); });
}
// For kernels without a gradient: x is supported, the others have its dtype, and none requires a
// gradient.
inline bool fast_inputs(const Tensor& x, std::initializer_list<Tensor> others = {}) {
  const auto alike = [&](const Tensor& t) {
    return t.scalar_type() == x.scalar_type() && t.device().is_cpu();
  };
  return fast_dtype(x) && std::all_of(others.begin(), others.end(), alike) &&
         !wants_gradient({x}) && !wants_gradient(others);
}

// bf16 or fp32 on a device that runs the kernels of *.cu.
inline bool device_dtype(const Tensor& x) {
  return on_device(x) && !plain_forced() &&
         (x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kFloat);
}
// The tensor's data, or null if it is undefined.
template <class T>
T* writable(const Tensor& x) {
  return x.defined() ? static_cast<T*>(x.mutable_data_ptr()) : nullptr;
}

// Calls f(uint16_t{}) for bf16 and f(float{}) for fp32, the element types of the *.cu kernels.
template <class F>
void by_element(const Tensor& x, F&& f) {
  if (x.scalar_type() == at::kBFloat16)
    f(uint16_t{});
  else
    f(float{});
}
// Calls f.operator()<L, T>() for the current level and x's element type: uint16_t for bf16, float
// for fp32.
template <class F>
void by_type(const Tensor& x, F&& f) {
  at_level([&]<Level L>() {
    if (x.scalar_type() == at::kBFloat16)
      f.template operator()<L, uint16_t>();
    else
      f.template operator()<L, float>();
  });
}
// by_type() for the products and attention, which have kernels on tiles.
template <class F>
void by_product_type(const Tensor& x, F&& f) {
#if defined(__x86_64__)
  if (level() == Level::amx && x.scalar_type() == at::kBFloat16)
    return f.template operator()<Level::amx, uint16_t>();
#endif
  by_type(x, f);
}
template <class T>
const T* data(const Tensor& x) {
  return static_cast<const T*>(x.const_data_ptr());
}
template <class T>
T* mutable_data(Tensor& x) {
  return static_cast<T*>(x.mutable_data_ptr());
}

// Rows per thread for elementwise work: about 16 thousand values, roughly the cost of waking a
// thread.
inline int64_t row_grain(int64_t width) {
  return std::max<int64_t>(1, 16384 / std::max<int64_t>(width, 1));
}

}  // namespace cream::ops
