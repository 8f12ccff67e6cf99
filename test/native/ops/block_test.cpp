// The GPU's kernels, run block by block on the CPU with the same code and launch grid, against ATen
// references. Only the launch itself and CUDA's arithmetic need a GPU (`npm run test:cuda`).
#include "ops/adamw/block.h"
#include "check.h"
#include "ops/adamw/op.h"
#include "ops/dispatch.h"
#include "ops/rms_norm/block.h"
#include "ops/rms_norm/op.h"
#include "ops/rope/block.h"
#include "ops/rope/op.h"
#include "ops/sample/block.h"
#include "ops/sample/op.h"
#include "ops/swiglu/block.h"
#include "ops/swiglu/op.h"
#include "ops/token_logprob/block.h"
#include "ops/token_logprob/op.h"
#include "support/random.h"

using namespace cream;
using at::Tensor;

namespace {

const auto kF32 = at::TensorOptions().dtype(at::kFloat);

template <class T>
constexpr at::ScalarType kType = sizeof(T) == 2 ? at::kBFloat16 : at::kFloat;
template <class T>
const T* in(const Tensor& x) {
  return static_cast<const T*>(x.const_data_ptr());
}
template <class T>
T* out(Tensor& x) {
  return static_cast<T*>(x.mutable_data_ptr());
}

Tensor random(at::IntArrayRef shape, uint64_t seed, at::ScalarType type = at::kFloat) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  return at::randn(shape, generator, kF32).to(type);
}

template <class T, int N>
void check_rms_norm(int64_t rows, int64_t width, double tolerance) {
  const double eps = 1e-5;
  const Tensor x = random({rows, width}, 1, kType<T>),
               residual = random({rows, width}, 2, kType<T>), weight = random({width}, 3, kType<T>);
  Tensor h = at::empty_like(x), y = at::empty_like(x), inverse = at::empty({rows}, kF32);
  const Grid grid{rows, threads_for(width / N)};
  run_on_host(ops::RmsNormBlock<T, N>{in<T>(x), in<T>(residual), out<T>(h), in<T>(weight),
                                      out<T>(y), out<float>(inverse), width, float(eps), 0},
              grid);
  CHECK_CLOSE(h, x + residual, 0);
  CHECK_CLOSE(y, ops::reference::rms_norm(h, weight, eps), tolerance);
  CHECK_RELATIVE(inverse, at::rsqrt(h.to(at::kFloat).square().mean(-1) + eps), 1e-6);

  // Without a residual, and with Gemma's offset.
  run_on_host(ops::RmsNormBlock<T, N>{in<T>(x), nullptr, nullptr, in<T>(weight), out<T>(y), nullptr,
                                      width, float(eps), 1},
              grid);
  CHECK_CLOSE(y.to(at::kFloat),
              ops::reference::rms_norm(x, at::ones_like(weight), eps).to(at::kFloat) *
                  (weight.to(at::kFloat) + 1),
              16 * tolerance + 1e-5);

  const Tensor dy = random({rows, width}, 4, kType<T>);
  const int64_t chunk = 3, chunks = (rows + chunk - 1) / chunk;
  Tensor dh = at::empty_like(h), parts = at::empty({chunks, width}, kF32);
  run_on_host(
      ops::RmsNormBackwardBlock<T, N>{in<T>(h), in<T>(weight), in<float>(inverse), in<T>(dy),
                                      out<T>(dh), out<float>(parts), rows, width, chunk, 0},
      {chunks, threads_for(width / N), width * 4});
  const at::AutoGradMode grad(true);
  const Tensor hv = h.to(at::kDouble).set_requires_grad(true),
               wv = weight.to(at::kDouble).set_requires_grad(true);
  const auto gradients = torch::autograd::grad({ops::reference::rms_norm(hv, wv, eps)}, {hv, wv},
                                               {dy.to(at::kDouble)});
  CHECK_RELATIVE(dh.to(at::kDouble), gradients[0], sizeof(T) == 2 ? 4e-3 : 1e-5);
  CHECK_RELATIVE(parts.sum(0).to(at::kDouble), gradients[1], sizeof(T) == 2 ? 4e-3 : 1e-5);
}

CHECK_CASE("block: RMS norm with a residual, and its gradients, equal the reference") {
  check_rms_norm<float, 4>(7, 96, 1e-5);
  check_rms_norm<float, 1>(4, 33, 1e-5);
  check_rms_norm<uint16_t, 8>(7, 576, 0.016);
  check_rms_norm<uint16_t, 1>(2, 17, 0.016);
}

template <class T, int N>
void check_swiglu(double tolerance) {
  const int64_t rows = 5, n = 48;
  const Tensor gate_up = random({rows, 2 * n}, 5, kType<T>), dy = random({rows, n}, 6, kType<T>);
  for (const auto activation : {Activation::silu, Activation::gelu_tanh}) {
    Tensor y = at::empty({rows, n}, gate_up.options()), d = at::empty_like(gate_up);
    run_on_host(ops::SwigluBlock<T, N>{in<T>(gate_up), out<T>(y), n, activation},
                {rows, threads_for(n / N)});
    run_on_host(ops::SwigluBackwardBlock<T, N>{in<T>(gate_up), in<T>(dy), out<T>(d), n, activation},
                {rows, threads_for(n / N)});
    const at::AutoGradMode grad(true);
    const Tensor wide = gate_up.to(at::kDouble).set_requires_grad(true);
    const Tensor gate = wide.narrow(1, 0, n), up = wide.narrow(1, n, n);
    const Tensor expected =
        (activation == Activation::silu ? at::silu(gate) : at::gelu(gate, "tanh")) * up;
    CHECK_RELATIVE(y.to(at::kDouble), expected.detach(), tolerance);
    CHECK_RELATIVE(d.to(at::kDouble),
                   torch::autograd::grad({expected}, {wide}, {dy.to(at::kDouble)})[0], tolerance);
  }
}

CHECK_CASE("block: gated activations and their gradients equal autograd's") {
  check_swiglu<float, 4>(1e-6);
  check_swiglu<uint16_t, 8>(4e-3);
}

CHECK_CASE("block: RoPE rotates as the reference, and back again") {
  const int64_t rows = 6, heads = 3, d = 16;
  const Tensor x = random({rows, heads, d}, 7), angles = random({rows, d / 2}, 9);
  const Tensor both = at::cat({angles, angles}, 1), cos = both.cos(), sin = both.sin();
  Tensor y = at::empty_like(x), back = at::empty_like(x);
  const Grid grid{rows, threads_for(heads * d / 2)};
  run_on_host(ops::RopeBlock<float>{in<float>(x), in<float>(cos), in<float>(sin), out<float>(y),
                                    heads, d, heads * d, false},
              grid);
  run_on_host(ops::RopeBlock<float>{in<float>(y), in<float>(cos), in<float>(sin), out<float>(back),
                                    heads, d, heads * d, true},
              grid);
  CHECK_CLOSE(y, ops::reference::rope(x, cos, sin), 1e-6);
  CHECK_CLOSE(back, x, 1e-5);
}

template <int N>
void check_token_logprob(int64_t vocab) {
  const int64_t rows = 4;
  const Tensor logits = random({rows, vocab}, 10) * 6;
  const Tensor targets = at::tensor({int64_t{0}, vocab - 1, int64_t{300}, int64_t{5}}, at::kLong),
               coefficient = random({rows}, 11);
  const Grid grid{rows, threads_for(vocab / N)};
  for (const float cap : {0.0f, 5.0f}) {
    Tensor logprob = at::empty({rows}, kF32), logsumexp = at::empty({rows}, kF32),
           d = at::empty_like(logits), half = at::empty({rows, vocab}, at::kBFloat16);
    run_on_host(ops::TokenLogprobBlock<N>{in<float>(logits), in<int64_t>(targets),
                                          out<float>(logprob), out<float>(logsumexp), vocab, cap},
                grid);
    run_on_host(
        ops::TokenLogprobGradientBlock<float, N>{in<float>(logits), in<float>(logsumexp),
                                                 in<int64_t>(targets), in<float>(coefficient),
                                                 out<float>(d), vocab, cap},
        grid);
    run_on_host(
        ops::TokenLogprobGradientBlock<uint16_t, N>{in<float>(logits), in<float>(logsumexp),
                                                    in<int64_t>(targets), in<float>(coefficient),
                                                    out<uint16_t>(half), vocab, cap},
        grid);
    const at::AutoGradMode grad(true);
    const Tensor wide = logits.to(at::kDouble).set_requires_grad(true);
    const Tensor z = cap > 0 ? cap * at::tanh(wide / cap) : wide;
    const Tensor expected = at::log_softmax(z, -1).gather(1, targets.unsqueeze(1)).squeeze(1);
    CHECK_CLOSE(logprob.to(at::kDouble), expected.detach(), 1e-5);
    const Tensor gradient =
        torch::autograd::grad({expected}, {wide}, {coefficient.to(at::kDouble)})[0];
    CHECK_CLOSE(d.to(at::kDouble), gradient, 2e-6);
    CHECK_RELATIVE(half.to(at::kDouble), gradient, 3e-3);
  }
}

CHECK_CASE(
    "block: log-softmax at a target and its gradient equal the reference, soft-capped as autograd "
    "has it") {
  check_token_logprob<1>(777);
  check_token_logprob<4>(776);
}

CHECK_CASE("block: AdamW over chunks equals the reference, and so does the sum of squares") {
  const int64_t n = 1000, chunk = 300;
  const ops::AdamWStep step{1e-2, 0.9, 0.95, 1e-8, 0.1, 3, 0.5};
  Tensor master = random({n}, 12), m = random({n}, 13) * 0.1, v = random({n}, 14).square() * 0.01;
  const Tensor gradient = random({n}, 15);
  Tensor weight = at::empty({n}, at::kBFloat16);
  Tensor master2 = master.clone(), m2 = m.clone(), v2 = v.clone(), weight2 = weight.clone();
  Tensor master3 = master.clone(), m3 = m.clone(), v3 = v.clone(), weight3 = weight.clone();
  run_on_host(ops::AdamWBlock<uint16_t>{out<float>(master), out<float>(m), out<float>(v),
                                        in<float>(gradient), out<uint16_t>(weight), n, chunk,
                                        ops::adamw_scalars(step)},
              {(n + chunk - 1) / chunk, 256});
  ops::reference::adamw(master2, m2, v2, gradient, weight2, step);
  CHECK_RELATIVE(master, master2, 1e-6);
  CHECK_RELATIVE(m, m2, 1e-6);
  CHECK_RELATIVE(v, v2, 1e-6);
  CHECK_RELATIVE(weight.to(at::kFloat), weight2.to(at::kFloat), 1e-3);
  ops::adamw(master3, m3, v3, gradient, weight3, step);
  CHECK(at::equal(master, master3) && at::equal(m, m3) && at::equal(v, v3) &&
        at::equal(weight, weight3));  // bit for bit as on the CPU

  Tensor parts = at::empty({(n + chunk - 1) / chunk}, at::kDouble);
  run_on_host(ops::SumOfSquaresBlock<float>{in<float>(gradient), out<double>(parts), n, chunk},
              {(n + chunk - 1) / chunk, 128});
  CHECK(std::abs(parts.sum().item<double>() - ops::reference::sum_of_squares(gradient)) < 1e-9);
}

// One draw by both kernels, run on the host.
template <int N>
Draw draw_on_host(const Tensor& logits, const ops::SampleRow& row, const int32_t* banned) {
  const int64_t vocab = logits.size(0),
                slices = (vocab + ops::kSampleSlice - 1) / ops::kSampleSlice;
  std::vector<ops::SliceStats> stats(static_cast<size_t>(slices));
  std::vector<ops::SampleBin> bins(static_cast<size_t>(slices * ops::kSampleBins));
  Draw drawn{-2, 1};
  run_on_host(ops::SampleSliceBlock<N>{in<float>(logits), &row, banned, stats.data(), bins.data(),
                                       vocab, slices},
              {slices, 64, ops::SampleSliceBlock<N>::shared_bytes});
  run_on_host(ops::SampleBlock<N>{in<float>(logits), &row, banned, stats.data(), bins.data(),
                                  &drawn.token, &drawn.logprob, vocab, slices},
              {1, 64, ops::SampleBlock<N>::shared_bytes});
  return drawn;
}

// Draws from one row of logits with the kernels and with the full sort.
void check_draws(const Tensor& logits, const SamplingParams& params, const Tokens& banned,
                 int draws) {
  const int64_t vocab = logits.size(0);
  int different = 0;
  for (int i = 0; i < draws; ++i) {
    const double u = uniform(SampleKey{7, 0, 3, static_cast<uint32_t>(i)}, 0);
    const ops::SampleRow row{
        params.temperature, params.top_p, u, params.top_k, 0, static_cast<int32_t>(banned.size())};
    const auto [token, logprob] = vocab % 4 == 0 ? draw_on_host<4>(logits, row, banned.data())
                                                 : draw_on_host<1>(logits, row, banned.data());
    const Draw expected = ops::reference::sample(in<float>(logits), vocab, params, &banned, u);
    if (token != expected.token)
      ++different;
    else
      CHECK(std::abs(logprob - expected.logprob) < 1e-4);
  }
  CHECK(different == 0);
}

CHECK_CASE("block: sampling draws the tokens of the full sort") {
  const Tensor logits = random({1500}, 16) * 4;
  SamplingParams params;
  for (const double temperature : {0.0, 0.3, 1.0, 2.5})
    for (const double top_p : {0.2, 0.9, 1.0})
      for (const int64_t top_k : {0, 1, 40}) {
        params.temperature = temperature;
        params.top_p = top_p;
        params.top_k = top_k;
        check_draws(logits, params, {}, 12);
        check_draws(logits, params, {3, 77, 1499}, 6);
      }
  // Many equal logits: ties are ordered by ascending id.
  params = {};
  params.top_p = 0.7;
  check_draws(at::round(logits / 4).contiguous(), params, {}, 40);
  params.top_k = 100;
  check_draws(at::round(logits / 4).contiguous(), params, {}, 40);
  check_draws(at::zeros({50}, kF32), params, {0, 1, 2}, 40);
}

CHECK_CASE("block: sampling draws the tokens of the full sort from rows of several slices") {
  const int64_t vocab = 3 * ops::kSampleSlice - 1001;
  const Tensor normal = random({vocab}, 17);
  Tensor half = normal * 3, shelves = normal.clone(), late = normal * 2;
  half.narrow(0, 0, ops::kSampleSlice + 5).fill_(-INFINITY);  // a slice without any token
  shelves.narrow(0, 100, 20000).add_(-9);                     // slices of unlike heights
  late.narrow(0, vocab - 3, 3).add_(30);                      // the rest is in the last bin
  const std::vector<Tensor> kinds = {normal,           normal * 0.02, normal * 3, normal * 40,
                                     normal * 2 + 500, half,          shelves,    late,
                                     normal * 1e-3 - 7};
  for (const Tensor& logits : kinds)
    for (const auto& [temperature, top_p, top_k] :
         std::vector<std::tuple<double, double, int64_t>>{{1, 1, 0},
                                                          {0.8, 0.95, 0},
                                                          {0, 1, 0},
                                                          {1.7, 0.5, 3000},
                                                          {1, 0.999, 50},
                                                          {1e-4, 0.9, 0}}) {
      SamplingParams params;
      params.temperature = temperature, params.top_p = top_p, params.top_k = top_k;
      check_draws(logits.contiguous(), params, {vocab - 1, 5}, 1);
      check_draws(logits.narrow(0, 0, vocab / 4 * 4).contiguous(), params, {}, 2);
    }
  check_draws(at::round(normal), {}, {}, 4);  // more ties than can be sorted
}

CHECK_CASE("block: the ends of the interval draw the first and the last token of the nucleus") {
  const Tensor logits = random({40000}, 18) * 5;
  for (const double u : {0.0, 1 - 0x1p-53})
    for (const double top_p : {1e-9, 0.7, 1 - 1e-12, 1.0})
      for (const int64_t top_k : {0, 1, 999}) {
        SamplingParams params;
        params.top_p = top_p, params.top_k = top_k;
        const ops::SampleRow row{1, top_p, u, top_k, 0, 0};
        const TokenId token = draw_on_host<4>(logits, row, nullptr).token;
        const Draw expected = ops::reference::sample(in<float>(logits), 40000, params, nullptr, u);
        // Where the last token's mass is below the masses' rounding, one nearby is as good.
        const double apart =
            std::abs(logits[token].item<double>() - logits[expected.token].item<double>());
        CHECK(token == expected.token || (u > 0 && top_p > 0.99 && top_k == 0 && apart < 12));
      }
}

CHECK_CASE("block: a row without a finite logit is reported as −1") {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    Tensor logits = at::full({40}, -INFINITY, kF32);
    logits[7] = bad;
    const ops::SampleRow row{1.0, 0.9, 0.5, 0, 0, 0};
    CHECK(draw_on_host<4>(logits, row, nullptr).token == -1);
  }
}

}  // namespace
