// AdamW and the gradient norm on a device. The norm synchronises once per step: its fp64 partial
// sums are copied together and added in order.
#include "ops/adamw/cuda.h"
#include "ops/adamw/forms.h"
#include "support/device.h"

namespace cream::ops::device {

void adamw(AdamWState& state, const AdamWStep& step) {
  const at::NoGradGuard no_grad;
  const at::DeviceGuard guard(state.weight.device());
  void* const stream = stream_of(state.weight);
  const AdamWScalars s = adamw_scalars(step);
  const AdamWForms f = forms_of(state);
  const bool in_fp32 = f.master != nullptr && f.m != nullptr && f.gradient != nullptr;
  if (!in_fp32) return check_launch(adamw_forms_cuda(f, s, stream), "adamw");
  if (f.weight == nullptr)
    return check_launch(
        adamw_cuda(AdamWCuda<float>{f.master, f.m, f.v, f.gradient, nullptr, f.n, s}, stream),
        "adamw");
  check_launch(
      adamw_cuda(AdamWCuda<uint16_t>{f.master, f.m, f.v, f.gradient, f.weight, f.n, s}, stream),
      "adamw");
}

double sum_of_squares(const std::vector<Tensor>& tensors) {
  const at::NoGradGuard no_grad;
  const at::DeviceGuard guard(tensors.front().device());
  int64_t parts = 0;
  for (const Tensor& x : tensors) parts += sum_of_squares_parts(x.numel());
  const Tensor partial = at::empty({parts}, tensors.front().options().dtype(at::kDouble));
  double* to = static_cast<double*>(partial.mutable_data_ptr());
  for (const Tensor& x : tensors) {
    const int64_t n = x.numel();
    const void* const from = x.const_data_ptr();
    const int error =
        x.scalar_type() == at::kFloat
            ? sum_of_squares_cuda(static_cast<const float*>(from), to, n, stream_of(x))
            : sum_of_squares_cuda(static_cast<const uint16_t*>(from), to, n, stream_of(x));
    check_launch(error, "sum_of_squares");
    to += sum_of_squares_parts(n);
  }
  const Tensor here = partial.cpu();
  double sum = 0;
  for (int64_t i = 0; i < parts; ++i) sum += here.const_data_ptr<double>()[i];
  return sum;
}

}  // namespace cream::ops::device
