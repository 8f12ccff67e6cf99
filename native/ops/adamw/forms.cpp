// Converts the small forms of an optimizer state to fp32 and back in plain ATen. The operations on
// tensors of bits are those that the kernels apply per element (codes.h), so this is their
// reference too. Outside the reference, masters on the CPU are split and joined in one pass.
#include "ops/adamw/forms.h"

#include "ops/adamw/codes.h"
#include "ops/launch.h"

namespace cream::ops {
namespace {

constexpr int64_t kOne = 0x3f8;  // upper 12 bits of 1.0f

// codes [n] → fp32 [blocks, 256], before multiplication with the scale.
Tensor shares_of(const Tensor& code, int64_t most) {
  const Tensor bits = (code.to(at::kInt) + (kOne - most)).bitwise_left_shift(20);
  return at::where(code == 0, 0.0, bits.to(at::kInt).view(at::kFloat));
}

// x [blocks, 256] / scale [blocks, 1], in [0, 1] → codes.
Tensor codes_of(const Tensor& x, const Tensor& scale, int64_t most, int64_t least) {
  const Tensor share = (x / scale).nan_to_num(0.0);
  const Tensor bits = share.view(at::kInt);
  const Tensor rounded =
      (bits + 0x7ffff + bits.bitwise_right_shift(20).bitwise_and(1)).bitwise_right_shift(20);
  Tensor code = rounded - (kOne - most);
  code = at::where(code < 1, least, code).clamp_max(most);
  return at::where(share > 0, code, 0).to(at::kByte);
}

int64_t blocks_of(const AdamWState& state) {
  return (state.weight.numel() + kStateBlock - 1) / kStateBlock;
}

Tensor in_blocks(const Tensor& x, int64_t blocks) {
  const Tensor flat = x.reshape({-1});
  return at::constant_pad_nd(flat, {0, blocks * kStateBlock - flat.numel()})
      .view({blocks, kStateBlock});
}

Tensor out_of_blocks(const Tensor& x, const Tensor& like) {
  return x.reshape({-1}).narrow(0, 0, like.numel()).view(like.sizes());
}

constexpr int64_t kGrain = int64_t{1} << 16;  // elements per thread at least

bool in_one_pass(const Tensor& a, const Tensor& b) {
  return fast_path() && a.is_cpu() && b.is_cpu() && a.is_contiguous() && b.is_contiguous();
}

// The fp32 numbers, as ints, whose upper halves are the bf16 weights.
Tensor upper_halves(const Tensor& weight) {
  return weight.view(at::kShort).to(at::kInt).bitwise_left_shift(16);
}

}  // namespace

namespace reference {

static Tensor master_of(const AdamWState& state) {
  if (state.master.defined()) return state.master;
  return (upper_halves(state.weight) + state.remainder.to(at::kInt)).view(at::kFloat);
}

static void set_master(AdamWState& state, const Tensor& master) {
  if (!state.weight.is_same(state.master)) state.weight.copy_(master);
  if (!state.master.defined())
    state.remainder.copy_((master.view(at::kInt) - upper_halves(state.weight)).clamp_max(0x7fff));
  else if (!state.master.is_same(master))
    state.master.copy_(master);
}

}  // namespace reference

AdamWForms forms_of(const AdamWState& state) {
  const bool codes = state.m_scale.defined(), half = state.gradient.scalar_type() == at::kBFloat16,
             own = state.weight.is_same(state.master);
  return {writable<float>(state.master),
          writable<int16_t>(state.remainder),
          own ? nullptr : writable<uint16_t>(state.weight),
          codes ? nullptr : writable<float>(state.m),
          codes ? nullptr : writable<float>(state.v),
          codes ? writable<uint8_t>(state.m) : nullptr,
          codes ? writable<uint8_t>(state.v) : nullptr,
          writable<float>(state.m_scale),
          writable<float>(state.v_scale),
          half ? nullptr : writable<const float>(state.gradient),
          half ? writable<const uint16_t>(state.gradient) : nullptr,
          state.weight.numel()};
}

Tensor master_of(const AdamWState& state) {
  if (!state.master.defined() && in_one_pass(state.weight, state.remainder)) {
    const Tensor master = at::empty(state.weight.sizes(), state.weight.options().dtype(at::kFloat));
    auto* const to = writable<float>(master);
    const auto* const weight = writable<const uint16_t>(state.weight);
    const auto* const remainder = writable<const int16_t>(state.remainder);
    parallel_for(0, master.numel(), kGrain, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) to[i] = join_master(weight[i], remainder[i]);
    });
    return master;
  }
  return reference::master_of(state);
}

void set_master(AdamWState& state, const Tensor& master) {
  if (!state.master.defined() && in_one_pass(master, state.remainder) &&
      state.weight.is_contiguous()) {
    state.weight.copy_(master);
    const auto* const from = writable<const float>(master);
    const auto* const weight = writable<const uint16_t>(state.weight);
    auto* const to = writable<int16_t>(state.remainder);
    parallel_for(0, master.numel(), kGrain, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) to[i] = rest_of_master(from[i], weight[i]);
    });
    return;
  }
  reference::set_master(state, master);
}

Tensor first_moment_of(const AdamWState& state) {
  if (!state.m_scale.defined()) return state.m;
  const Tensor code = in_blocks(state.m, blocks_of(state));
  const Tensor value = shares_of(code.bitwise_and(0x7f), 127) * state.m_scale.unsqueeze(1);
  return out_of_blocks(at::where(code >= 0x80, -value, value), state.weight);
}

Tensor second_moment_of(const AdamWState& state) {
  if (!state.v_scale.defined()) return state.v;
  return out_of_blocks(
      shares_of(in_blocks(state.v, blocks_of(state)), 255) * state.v_scale.unsqueeze(1),
      state.weight);
}

namespace reference {

void adamw(AdamWState& state, const AdamWStep& step) {
  const at::NoGradGuard no_grad;
  Tensor master = reference::master_of(state), m = first_moment_of(state),
         v = second_moment_of(state), rounded = at::empty_like(state.weight);
  reference::adamw(master, m, v, state.gradient.to(at::kFloat), rounded, step);
  reference::set_master(state, master);
  if (!state.m_scale.defined()) return;
  const Tensor first = in_blocks(m, blocks_of(state)), second = in_blocks(v, blocks_of(state));
  state.m_scale.copy_(first.abs().amax(1));
  state.v_scale.copy_(second.amax(1));
  const Tensor code = codes_of(first.abs(), state.m_scale.unsqueeze(1), 127, 0);
  state.m.copy_(out_of_blocks(at::where(first < 0, code.bitwise_or(0x80), code), state.weight));
  state.v.copy_(out_of_blocks(codes_of(second, state.v_scale.unsqueeze(1), 255, 1), state.weight));
}

}  // namespace reference

}  // namespace cream::ops
