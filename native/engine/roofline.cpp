// The machine's roofline, measured without our own kernels: GEMMs through ATen (oneDNN, MKL) and a
// plain copy. `cream bench` reports every stage relative to these. Fresh processes alternate, so
// one call is one sample: warm-up, then the mean of `repeats` runs.
#include <chrono>
#include <cstring>

#include "engine/engine.h"
#include "support/device.h"
#include "support/torch.h"

namespace cream {

namespace {

// Mean seconds per call, after two that warm up caches, threads and oneDNN's primitive. Waits for a
// GPU to finish.
double mean_seconds(const at::Device& device, int64_t repeats, const std::function<void()>& work) {
  for (int i = 0; i < 2; ++i) work();
  synchronize(device);
  const auto began = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < repeats; ++i) work();
  synchronize(device);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count() /
         static_cast<double>(repeats);
}

}  // namespace

double benchmark_gemm(const GemmShape& shape, DType dtype, const std::string& device_name,
                      int64_t repeats) {
  const at::NoGradGuard no_grad;
  const at::Device device = parse_device(device_name);
  const at::TensorOptions options = at::TensorOptions().device(device).dtype(
      dtype == DType::bfloat16 ? at::kBFloat16 : at::kFloat);
  // The values do not matter: multiplication takes the same time for all finite values.
  const Tensor x = at::randn({shape.m, shape.k}, options),
               w = at::randn({shape.n, shape.k}, options);  // y = x · Wᵀ: [m, n]
  Tensor y = at::empty({shape.m, shape.n}, options);
  return mean_seconds(device, repeats, [&] { at::mm_out(y, x, w.t()); });
}

double benchmark_copy(int64_t bytes, const std::string& device_name, int64_t repeats) {
  const at::Device device = parse_device(device_name);
  const at::TensorOptions options = at::TensorOptions().device(device).dtype(at::kByte);
  const Tensor from = at::ones({bytes}, options), to = at::zeros({bytes}, options);
  if (!device.is_cpu()) return mean_seconds(device, repeats, [&] { to.copy_(from); });
  const char* source = static_cast<const char*>(from.const_data_ptr());
  char* target = static_cast<char*>(to.mutable_data_ptr());
  return mean_seconds(device, repeats, [&] {
    at::parallel_for(0, bytes, 1 << 16, [&](int64_t begin, int64_t end) {
      std::memcpy(target + begin, source + begin, end - begin);
    });
  });
}

}  // namespace cream
