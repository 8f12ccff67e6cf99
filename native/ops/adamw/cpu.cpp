// AdamW and the gradient norm on the CPU: fixed blocks distributed over the threads, each with the
// widest kernel that the CPU has.
#include <algorithm>
#include <numeric>

#include "ops/adamw/forms.h"
#include "ops/adamw/kernel.h"
#include "ops/adamw/math.h"
#include "ops/adamw/op.h"
#include "ops/dispatch.h"
#include "support/device.h"
#include "support/parallel.h"

namespace cream::ops {
namespace {

constexpr int64_t kBlock =
    int64_t{1} << 16;  // a multiple of 16; fixed, so that sums do not depend on the thread count

uint16_t round_to_bf16(float x) { return c10::detail::round_to_nearest_even(x); }

int64_t blocks_of(int64_t n) { return (n + kBlock - 1) / kBlock; }

}  // namespace

AdamWScalars adamw_scalars(const AdamWStep& step) {
  const double correction1 = 1 - std::pow(step.beta1, static_cast<double>(step.step));
  const double correction2 = 1 - std::pow(step.beta2, static_cast<double>(step.step));
  return {static_cast<float>(1 - step.learning_rate * step.weight_decay),
          static_cast<float>(1 - step.beta1),
          static_cast<float>(step.beta2),
          static_cast<float>(1 - step.beta2),
          static_cast<float>(step.learning_rate / correction1),
          static_cast<float>(std::sqrt(correction2)),
          static_cast<float>(step.epsilon),
          static_cast<float>(step.gradient_scale)};
}

void adamw_scalar(float* master, float* m, float* v, const float* gradient, uint16_t* bf16,
                  int64_t n, const AdamWScalars& s) {
  for (int64_t i = 0; i < n; ++i) {
    master[i] = adamw_element(master[i], m[i], v[i], gradient[i], s);
    if (bf16 != nullptr) bf16[i] = round_to_bf16(master[i]);
  }
}

void adamw_forms_scalar(const AdamWForms& forms, int64_t first, int64_t last,
                        const AdamWScalars& s) {
  float m[kStateBlock], v[kStateBlock];
  for (int64_t block = first; block < last; ++block) {
    const int64_t begin = block * kStateBlock, count = std::min(kStateBlock, forms.n - begin);
    float m_scale = 0, v_scale = 0;
    for (int64_t i = 0; i < count; ++i) {
      adamw_forms_element(forms, begin + i, s, m[i], v[i]);
      m_scale = std::max(m_scale, std::fabs(m[i]));
      v_scale = std::max(v_scale, v[i]);
    }
    if (forms.m_scale != nullptr) {
      forms.m_scale[block] = m_scale;
      forms.v_scale[block] = v_scale;
    }
    for (int64_t i = 0; i < count; ++i)
      store_moments(forms, begin + i, m[i], v[i], m_scale, v_scale);
  }
}

template <class T>
static double sum_of_squares_lanes(const T* x, int64_t n) {
  double lanes[16] = {};
  for (int64_t i = 0; i < n; ++i) {
    const double value = widen(x[i]);
    lanes[i % 16] += value * value;
  }
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

double sum_of_squares_scalar(const float* x, int64_t n) { return sum_of_squares_lanes(x, n); }

void adamw(Tensor& master, Tensor& m, Tensor& v, const Tensor& gradient, Tensor& weight,
           const AdamWStep& step) {
  const bool separate = !weight.is_same(master);
  const bool fits = master.is_cpu() && master.is_contiguous() && m.is_contiguous() &&
                    v.is_contiguous() && gradient.is_contiguous() && weight.is_contiguous() &&
                    (!separate || weight.scalar_type() == at::kBFloat16);
  if (!fits) return reference::adamw(master, m, v, gradient, weight, step);

  const AdamWScalars s = adamw_scalars(step);
  float* const master_data = master.mutable_data_ptr<float>();
  float* const m_data = m.mutable_data_ptr<float>();
  float* const v_data = v.mutable_data_ptr<float>();
  const float* const gradient_data = gradient.const_data_ptr<float>();
  uint16_t* const bf16 =
      separate ? reinterpret_cast<uint16_t*>(weight.mutable_data_ptr<at::BFloat16>()) : nullptr;
  const int64_t n = master.numel();
  if (fast_path()) count_fast_run(Op::adamw);
  parallel_for(0, blocks_of(n), 1, [&](int64_t first, int64_t last) {
    const int64_t begin = first * kBlock, end = std::min(last * kBlock, n);
    const int64_t wide = fast_path() ? (end - begin) / 16 * 16 : 0;
    const auto at = [&](auto* data, int64_t offset) {
      return data == nullptr ? nullptr : data + begin + offset;
    };
    if (wide > 0)
      at_level([&]<Level L>() {
        adamw_values<L>(at(master_data, 0), at(m_data, 0), at(v_data, 0), at(gradient_data, 0),
                        at(bf16, 0), wide, s);
      });
    adamw_scalar(at(master_data, wide), at(m_data, wide), at(v_data, wide), at(gradient_data, wide),
                 at(bf16, wide), end - begin - wide, s);
  });
}

void adamw(AdamWState& state, const AdamWStep& step) {
  if (on_device(state.weight)) return device::adamw(state, step);
  const bool in_fp32 = state.master.defined() && !state.m_scale.defined() &&
                       state.gradient.scalar_type() == at::kFloat;
  if (in_fp32) return adamw(state.master, state.m, state.v, state.gradient, state.weight, step);
  const AdamWForms forms = forms_of(state);
  const AdamWScalars s = adamw_scalars(step);
  constexpr int64_t grain = kBlock / kStateBlock;
  parallel_for(0, (forms.n + kStateBlock - 1) / kStateBlock, grain,
               [&](int64_t first, int64_t last) {
                 const int64_t wide = fast_path() ? std::min(last, forms.n / kStateBlock) : first;
                 if (wide > first)
                   at_level([&]<Level L>() { adamw_forms_values<L>(forms, first, wide, s); });
                 adamw_forms_scalar(forms, wide, last, s);
               });
}

double sum_of_squares(const std::vector<Tensor>& tensors) {
  if (!tensors.empty() && on_device(tensors.front())) return device::sum_of_squares(tensors);
  double sum = 0;
  for (const Tensor& tensor : tensors) sum += sum_of_squares(tensor);
  return sum;
}

double sum_of_squares(const Tensor& x) {
  if (on_device(x)) return device::sum_of_squares({x});
  const bool half = x.scalar_type() == at::kBFloat16;
  if (!x.is_contiguous() || !(half || x.scalar_type() == at::kFloat))
    return reference::sum_of_squares(x);
  const int64_t n = x.numel();
  std::vector<double> sums(blocks_of(n));
  if (half) {
    const auto* const bits = reinterpret_cast<const uint16_t*>(x.const_data_ptr<at::BFloat16>());
    parallel_for(0, blocks_of(n), 1, [&](int64_t first, int64_t last) {
      for (int64_t block = first; block < last; ++block)
        sums[block] =
            sum_of_squares_lanes(bits + block * kBlock, std::min(kBlock, n - block * kBlock));
    });
    return std::accumulate(sums.begin(), sums.end(), 0.0);
  }
  const float* const data = x.const_data_ptr<float>();
  parallel_for(0, blocks_of(n), 1, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      const int64_t begin = block * kBlock, length = std::min(kBlock, n - begin);
      if (fast_path() && length % 16 == 0) {
        at_level([&]<Level L>() { sums[block] = sum_of_squares_values<L>(data + begin, length); });
      } else {
        sums[block] = sum_of_squares_scalar(data + begin, length);
      }
    }
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

}  // namespace cream::ops
