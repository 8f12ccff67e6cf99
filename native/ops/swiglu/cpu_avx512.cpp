// y = f(gate) · up, fp32 inside, f rounded before the product as the reference rounds it. With σ the sigmoid,
// silu(x) = x·σ(x) and gelu_tanh(x) = x·σ(2u), u = √(2/π)(x + 0.044715x³), since ½(1 + tanh u) = σ(2u).
#include "ops/swiglu/kernel.h"

#include "ops/avx512.h"

namespace cream::ops {
namespace {

// 1 / (1 + exp(−x)). Beyond 88 exp would overflow; there the sigmoid times x is 0 in every format.
inline __m512 sigmoid(__m512 x) {
  const __m512 decay = exp16(_mm512_min_ps(_mm512_sub_ps(_mm512_setzero_ps(), x), _mm512_set1_ps(88.0f)));
  return _mm512_div_ps(_mm512_set1_ps(1.0f), _mm512_add_ps(_mm512_set1_ps(1.0f), decay));
}

// What the sigmoid is taken of, and its derivative.
template <Activation A>
inline __m512 inner(__m512 x) {
  if constexpr (A == Activation::silu) return x;
  const __m512 square = _mm512_mul_ps(x, x);
  return _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(1.5957691216057308f), x), _mm512_fmadd_ps(_mm512_set1_ps(0.044715f), square, _mm512_set1_ps(1.0f)));
}
template <Activation A>
inline __m512 inner_slope(__m512 x) {
  if constexpr (A == Activation::silu) return _mm512_set1_ps(1.0f);
  const __m512 square = _mm512_mul_ps(x, x);
  return _mm512_mul_ps(_mm512_set1_ps(1.5957691216057308f), _mm512_fmadd_ps(_mm512_set1_ps(3 * 0.044715f), square, _mm512_set1_ps(1.0f)));
}

template <Activation A, class T>
void rows_of(const T* gate_up, T* y, int64_t rows, int64_t n) {
  for (int64_t row = 0; row < rows; ++row, gate_up += 2 * n, y += n)
    for (int64_t i = 0; i < n; i += 16) {
      const __mmask16 m = first_lanes(n - i);
      const __m512 gate = load16(gate_up + i, m);
      const __m512 active = rounded(y, _mm512_mul_ps(gate, sigmoid(inner<A>(gate))));
      store16(y + i, _mm512_mul_ps(active, load16(gate_up + n + i, m)), m);
    }
}

// d_up = dy·f(g), d_gate = dy·up·σ·(1 + g·(1 − σ)·inner′(g)), with the forward's rounding of f.
template <Activation A, class T>
void rows_back(const T* gate_up, const T* dy, T* d, int64_t rows, int64_t n) {
  const __m512 one = _mm512_set1_ps(1.0f);
  for (int64_t row = 0; row < rows; ++row, gate_up += 2 * n, d += 2 * n, dy += n)
    for (int64_t i = 0; i < n; i += 16) {
      const __mmask16 m = first_lanes(n - i);
      const __m512 gate = load16(gate_up + i, m), up = load16(gate_up + n + i, m), from = load16(dy + i, m), s = sigmoid(inner<A>(gate));
      __m512 rest = _mm512_sub_ps(one, s);
      if constexpr (A != Activation::silu) rest = _mm512_mul_ps(rest, inner_slope<A>(gate));
      const __m512 slope = _mm512_mul_ps(s, _mm512_fmadd_ps(gate, rest, one));
      store16(d + i, _mm512_mul_ps(_mm512_mul_ps(from, up), slope), m);
      store16(d + n + i, _mm512_mul_ps(from, rounded(dy, _mm512_mul_ps(gate, s))), m);
    }
}

template <class T>
void forward(const T* gate_up, T* y, int64_t rows, int64_t n, Activation activation) {
  if (activation == Activation::silu) rows_of<Activation::silu>(gate_up, y, rows, n);
  else rows_of<Activation::gelu_tanh>(gate_up, y, rows, n);
}
template <class T>
void backward(const T* gate_up, const T* dy, T* d, int64_t rows, int64_t n, Activation activation) {
  if (activation == Activation::silu) rows_back<Activation::silu>(gate_up, dy, d, rows, n);
  else rows_back<Activation::gelu_tanh>(gate_up, dy, d, rows, n);
}

}  // namespace

void swiglu_avx512(const uint16_t* gate_up, uint16_t* y, int64_t rows, int64_t n, Activation activation) { forward(gate_up, y, rows, n, activation); }
void swiglu_avx512(const float* gate_up, float* y, int64_t rows, int64_t n, Activation activation) { forward(gate_up, y, rows, n, activation); }
void swiglu_backward_avx512(const uint16_t* gate_up, const uint16_t* dy, uint16_t* d_gate_up, int64_t rows, int64_t n, Activation activation) {
  backward(gate_up, dy, d_gate_up, rows, n, activation);
}
void swiglu_backward_avx512(const float* gate_up, const float* dy, float* d_gate_up, int64_t rows, int64_t n, Activation activation) {
  backward(gate_up, dy, d_gate_up, rows, n, activation);
}

}  // namespace cream::ops
