// y = f(gate) · up, fp32 inside, f rounded before the product as the reference rounds it. With σ
// the sigmoid, silu(x) = x·σ(x) and gelu_tanh(x) = x·σ(2u), u = √(2/π)(x + 0.044715x³), since ½(1 +
// tanh u) = σ(2u).
#include "ops/swiglu/kernel.h"

#include "ops/simd.h"

namespace cream::ops {
namespace {

// 1 / (1 + exp(−x)). Beyond 88 exp would overflow; there the sigmoid times x is 0 in every format.
inline Floats sigmoid(Floats x) {
  const Floats decay = exp16(min16(sub16(zero16(), x), set16(88.0f)));
  return div16(set16(1.0f), add16(set16(1.0f), decay));
}

// The sigmoid's argument and its derivative.
template <Activation A>
inline Floats inner(Floats x) {
  if constexpr (A == Activation::silu) return x;
  const Floats square = mul16(x, x);
  return mul16(mul16(set16(1.5957691216057308f), x), fma16(set16(0.044715f), square, set16(1.0f)));
}
template <Activation A>
inline Floats inner_slope(Floats x) {
  if constexpr (A == Activation::silu) return set16(1.0f);
  const Floats square = mul16(x, x);
  return mul16(set16(1.5957691216057308f), fma16(set16(3 * 0.044715f), square, set16(1.0f)));
}

template <Activation A, class T>
void rows_of(const T* gate_up, T* y, int64_t rows, int64_t n) {
  for (int64_t row = 0; row < rows; ++row, gate_up += 2 * n, y += n)
    for (int64_t i = 0; i < n; i += 16) {
      const Mask m = first_lanes(n - i);
      const Floats gate = load16(gate_up + i, m);
      const Floats active = rounded(y, mul16(gate, sigmoid(inner<A>(gate))));
      store16(y + i, mul16(active, load16(gate_up + n + i, m)), m);
    }
}

// d_up = dy·f(g), d_gate = dy·up·σ·(1 + g·(1 − σ)·inner′(g)), with the forward's rounding of f.
template <Activation A, class T>
void rows_back(const T* gate_up, const T* dy, T* d, int64_t rows, int64_t n) {
  const Floats one = set16(1.0f);
  for (int64_t row = 0; row < rows; ++row, gate_up += 2 * n, d += 2 * n, dy += n)
    for (int64_t i = 0; i < n; i += 16) {
      const Mask m = first_lanes(n - i);
      const Floats gate = load16(gate_up + i, m), up = load16(gate_up + n + i, m),
                   from = load16(dy + i, m), s = sigmoid(inner<A>(gate));
      Floats rest = sub16(one, s);
      if constexpr (A != Activation::silu) rest = mul16(rest, inner_slope<A>(gate));
      const Floats slope = mul16(s, fma16(gate, rest, one));
      store16(d + i, mul16(mul16(from, up), slope), m);
      store16(d + n + i, mul16(from, rounded(dy, mul16(gate, s))), m);
    }
}

template <class T>
void forward(const T* gate_up, T* y, int64_t rows, int64_t n, Activation activation) {
  if (activation == Activation::silu)
    rows_of<Activation::silu>(gate_up, y, rows, n);
  else
    rows_of<Activation::gelu_tanh>(gate_up, y, rows, n);
}
template <class T>
void backward(const T* gate_up, const T* dy, T* d, int64_t rows, int64_t n, Activation activation) {
  if (activation == Activation::silu)
    rows_back<Activation::silu>(gate_up, dy, d, rows, n);
  else
    rows_back<Activation::gelu_tanh>(gate_up, dy, d, rows, n);
}

}  // namespace

template <>
void swiglu_rows<CREAM_LEVEL>(const uint16_t* gate_up, uint16_t* y, int64_t rows, int64_t n,
                              Activation activation) {
  forward(gate_up, y, rows, n, activation);
}
template <>
void swiglu_rows<CREAM_LEVEL>(const float* gate_up, float* y, int64_t rows, int64_t n,
                              Activation activation) {
  forward(gate_up, y, rows, n, activation);
}
template <>
void swiglu_backward_rows<CREAM_LEVEL>(const uint16_t* gate_up, const uint16_t* dy,
                                       uint16_t* d_gate_up, int64_t rows, int64_t n,
                                       Activation activation) {
  backward(gate_up, dy, d_gate_up, rows, n, activation);
}
template <>
void swiglu_backward_rows<CREAM_LEVEL>(const float* gate_up, const float* dy, float* d_gate_up,
                                       int64_t rows, int64_t n, Activation activation) {
  backward(gate_up, dy, d_gate_up, rows, n, activation);
}

}  // namespace cream::ops
