// act(gate)·up and its gradient, element by element; act is SiLU, or GELU in its tanh form (Gemma).
#pragma once

#include <cmath>

#include "support/activation.h"
#include "support/block.h"

namespace cream::ops {

struct GateValue {
  float value, slope;
};

CREAM_HOST_DEVICE inline GateValue gate_activation(float x, Activation activation) {
  if (activation == Activation::silu) {
    const float sigma = 1.0f / (1.0f + expf(-x));
    return {x * sigma, sigma * (1.0f + x * (1.0f - sigma))};
  }
  constexpr float a = 0.7978845608028654f, b = 0.044715f;  // sqrt(2/π); Hendrycks & Gimpel 2016
  const float t = tanhf(a * (x + b * x * x * x));
  return {0.5f * x * (1.0f + t),
          0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * a * (1.0f + 3.0f * b * x * x)};
}

// One row per block; n is a multiple of N.
template <class T, int N>
struct SwigluBlock {
  const T* gate_up;  // [rows, 2·n]
  T* y;              // [rows, n]
  int64_t n;
  Activation activation;

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const T* row = gate_up + block.index() * 2 * n;
    block.each(n / N, [&](int64_t i) {
      const Vec<T, N> gate = load_vec<N>(row + i * N), up = load_vec<N>(row + n + i * N);
      Vec<T, N> out;
      for (int j = 0; j < N; ++j)
        out.x[j] = narrow<T>(widen(narrow<T>(gate_activation(widen(gate.x[j]), activation).value)) *
                             widen(up.x[j]));
      store_vec(y + block.index() * n + i * N, out);
    });
  }
};

template <class T, int N>
struct SwigluBackwardBlock {
  const T* gate_up;  // [rows, 2·n]
  const T* dy;       // [rows, n]
  T* d_gate_up;      // [rows, 2·n]; may be gate_up itself
  int64_t n;
  Activation activation;

  template <class Block>
  CREAM_HOST_DEVICE void operator()(Block& block) const {
    const int64_t at = block.index() * 2 * n;
    block.each(n / N, [&](int64_t i) {
      const Vec<T, N> gate = load_vec<N>(gate_up + at + i * N),
                      up = load_vec<N>(gate_up + at + n + i * N);
      const Vec<T, N> d = load_vec<N>(dy + block.index() * n + i * N);
      Vec<T, N> d_gate, d_up;
      for (int j = 0; j < N; ++j) {
        const GateValue g = gate_activation(widen(gate.x[j]), activation);
        d_gate.x[j] = narrow<T>(widen(d.x[j]) * widen(up.x[j]) * g.slope);
        d_up.x[j] = narrow<T>(widen(d.x[j]) * g.value);
      }
      store_vec(d_gate_up + at + i * N, d_gate);
      store_vec(d_gate_up + at + n + i * N, d_up);
    });
  }
};

}  // namespace cream::ops
