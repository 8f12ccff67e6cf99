// AdamW, 16 parameters at a time. The order of operations is that of adamw_element, with separate
// multiply and add, so the bits are equal.
#include "ops/adamw/kernel.h"

#include "ops/adamw/codes.h"
#include "ops/simd.h"

namespace cream::ops {
namespace {

float largest_of(const float* x) {
  Floats largest = zero16();
  for (int64_t i = 0; i < kStateBlock; i += 16)
    largest = max16(abs16(load16(x + i)), largest);  // NaN does not count
  return top16(largest);
}

// to[i] = convert(from[i]) for a block. A code is a char, which could be part of any object: only
// with __restrict does the compiler use whole registers.
template <class To, class From, class F>
void each(To* __restrict to, const From* __restrict from, F&& convert) {
  for (int64_t i = 0; i < kStateBlock; ++i) to[i] = convert(from[i]);
}
template <class To, class A, class B, class F>
void each(To* __restrict to, const A* __restrict a, const B* __restrict b, F&& convert) {
  for (int64_t i = 0; i < kStateBlock; ++i) to[i] = convert(a[i], b[i]);
}

// The state of a block as fp32: where it is stored as such, or unpacked here.
struct UnpackedBlock {
  float master_[kStateBlock], m_[kStateBlock], v_[kStateBlock], gradient_[kStateBlock];
  float *master, *m, *v;
  const float* gradient;

  UnpackedBlock(const AdamWForms& f, int64_t block) {
    const int64_t begin = block * kStateBlock;
    const auto at = [&](auto* stored, auto* unpacked) {
      return stored != nullptr ? stored + begin : unpacked;
    };
    master = at(f.master, master_);
    m = at(f.m, m_);
    v = at(f.v, v_);
    gradient = at(f.gradient, const_cast<const float*>(gradient_));
    if (f.master == nullptr) each(master_, f.weight + begin, f.remainder + begin, join_master);
    if (f.m == nullptr) {
      const float m_scale = f.m_scale[block], v_scale = f.v_scale[block];
      each(m_, f.m_code + begin, [=](uint8_t code) { return decode_m(code, m_scale); });
      each(v_, f.v_code + begin, [=](uint8_t code) { return decode_v(code, v_scale); });
    }
    if (f.gradient == nullptr)
      each(gradient_, f.gradient_bf16 + begin,
           [](uint16_t bits) { return float_of(uint32_t{bits} << 16); });
  }

  void pack(const AdamWForms& f, int64_t block) const {
    const int64_t begin = block * kStateBlock;
    if (f.remainder != nullptr) each(f.remainder + begin, master, f.weight + begin, rest_of_master);
    if (f.m != nullptr) return;
    const float m_scale = f.m_scale[block] = largest_of(m);
    const float v_scale = f.v_scale[block] = largest_of(v);
    each(f.m_code + begin, m, [=](float x) { return encode_m(x, m_scale); });
    each(f.v_code + begin, v, [=](float x) { return encode_v(x, v_scale); });
  }
};

}  // namespace

template <>
void adamw_values<CREAM_LEVEL>(float* master, float* m, float* v, const float* gradient,
                               uint16_t* bf16, int64_t n, const AdamWScalars& s) {
  const Floats decay = set16(s.decay), one_minus_beta1 = set16(s.one_minus_beta1);
  const Floats beta2 = set16(s.beta2), one_minus_beta2 = set16(s.one_minus_beta2);
  const Floats step_size = set16(s.step_size), root_correction2 = set16(s.root_correction2);
  const Floats epsilon = set16(s.epsilon), scale = set16(s.gradient_scale);
  for (int64_t i = 0; i < n; i += 16) {
    const Floats g = mul16(load16(gradient + i), scale);
    const Floats old_m = load16(m + i);
    const Floats moment = add16(old_m, mul16(one_minus_beta1, sub16(g, old_m)));
    const Floats square = add16(mul16(load16(v + i), beta2), mul16(mul16(one_minus_beta2, g), g));
    const Floats denominator = add16(div16(sqrt16(square), root_correction2), epsilon);
    const Floats value =
        sub16(mul16(load16(master + i), decay), div16(mul16(step_size, moment), denominator));
    store16(m + i, moment);
    store16(v + i, square);
    store16(master + i, value);
    if (bf16 != nullptr) store_halves(bf16 + i, exact_bf16(value));
  }
}

template <>
void adamw_forms_values<CREAM_LEVEL>(const AdamWForms& forms, int64_t first, int64_t last,
                                     const AdamWScalars& s) {
  for (int64_t block = first; block < last; ++block) {
    const UnpackedBlock unpacked(forms, block);
    uint16_t* const weight = forms.weight == nullptr ? nullptr : forms.weight + block * kStateBlock;
    adamw_values<CREAM_LEVEL>(unpacked.master, unpacked.m, unpacked.v, unpacked.gradient, weight,
                              kStateBlock, s);
    unpacked.pack(forms, block);
  }
}

template <>
double sum_of_squares_values<CREAM_LEVEL>(const float* x, int64_t n) {
  Doubles low = set8(0), high = set8(0);
  for (int64_t i = 0; i < n; i += 16) {
    const Doubles a = load8(x + i), b = load8(x + i + 8);
    low = add8(low, mul8(a, a));
    high = add8(high, mul8(b, b));
  }
  double lanes[16];
  store8(lanes, low);
  store8(lanes + 8, high);
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

}  // namespace cream::ops
