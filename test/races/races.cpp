// Runs every kernel of native/**/*.cu with one real thread per thread of its blocks, for
// sanitizers: ThreadSanitizer finds missing barriers and two threads at one address,
// AddressSanitizer finds accesses outside a buffer, shared memory included. Sizes are odd on
// purpose. cream_check tests the kernels' results; here two runs must give the same bits and finite
// numbers. `npm run test:races` builds and runs it under both.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "ops/adamw/cuda.h"
#include "ops/attention/cuda.h"
#include "ops/decode_step/cuda.h"
#include "ops/linear/cuda.h"
#include "ops/pages/cuda.h"
#include "ops/rms_norm/cuda.h"
#include "ops/rope/cuda.h"
#include "ops/sample/cuda.h"
#include "ops/swiglu/cuda.h"
#include "ops/token_logprob/cuda.h"
#include "support/host_device.h"

using namespace cream;
using namespace cream::ops;

namespace {

std::mt19937 engine(1);
std::string wanted;  // part of the names to run; empty: all

template <class T>
std::vector<T> random(int64_t n, float scale = 1) {
  std::normal_distribution<float> normal;
  std::vector<T> out(static_cast<size_t>(n));
  for (T& x : out) x = narrow<T>(normal(engine) * scale);
  return out;
}
template <class T>
std::vector<T> scratch(int64_t n) {
  return std::vector<T>(static_cast<size_t>(n));
}

void require(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "races: %s\n", what.c_str());
  std::exit(1);
}

// Requires that two calls of `run` give the same bits and finite numbers only.
template <class T>
void check(const std::string& name, const std::function<std::vector<T>()>& run) {
  if (name.find(wanted) == std::string::npos) return;
  std::printf("%s\n", name.c_str());
  std::fflush(stdout);
  const std::vector<T> once = run(), again = run();
  require(once.size() == again.size() &&
              std::memcmp(once.data(), again.data(), once.size() * sizeof(T)) == 0,
          name + " gave different bits in its second run");
  if constexpr (std::is_same_v<T, float> || std::is_same_v<T, uint16_t>)
    for (const T x : once)
      require(std::isfinite(widen(x)), name + " gave a value that is not finite");
}

template <class T>
std::vector<T> all(std::initializer_list<std::vector<T>> parts) {
  std::vector<T> out;
  for (const auto& part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

void launched(int error) { require(error == 0, "a launch failed"); }

template <class T>
std::string type() {
  return sizeof(T) == 2 ? " bf16" : " fp32";
}

template <class T>
void norms(int64_t rows, int64_t width) {
  const auto x = random<T>(rows * width), residual = random<T>(rows * width),
             weight = random<T>(width), dy = random<T>(rows * width);
  check<T>("rms_norm" + type<T>(), [&] {
    auto y = scratch<T>(rows * width), h = y, dh = y;
    auto inverse = scratch<float>(rows), parts = scratch<float>(rms_norm_chunks(rows) * width);
    launched(rms_norm_cuda({x.data(), residual.data(), h.data(), weight.data(), y.data(),
                            inverse.data(), rows, width, 1e-5f, 0},
                           nullptr));
    launched(rms_norm_backward_cuda({h.data(), weight.data(), inverse.data(), dy.data(), dh.data(),
                                     parts.data(), rows, width, 1},
                                    nullptr));
    return all<T>({y, h, dh});
  });
}

template <class T>
void elementwise() {
  const int64_t rows = 3, heads = 4, d = 16, rotary_dim = 8, n = 40, vocab = 301;
  const auto x = random<T>(rows * heads * d), gate_up = random<T>(rows * 2 * n),
             dy = random<T>(rows * n);
  const auto cos = random<float>(rows * rotary_dim), sin = random<float>(rows * rotary_dim),
             logits = random<float>(rows * vocab, 3), coefficient = random<float>(rows);
  const std::vector<int64_t> targets{0, 300, 17};
  check<T>("rope" + type<T>(), [&] {
    auto y = scratch<T>(rows * heads * d);
    launched(rope_cuda({x.data(), cos.data(), sin.data(), y.data(), rows, heads, d, heads * d,
                        false, rotary_dim, heads * d},
                       nullptr));
    return y;
  });
  check<T>("swiglu" + type<T>(), [&] {
    auto y = scratch<T>(rows * n), d_gate_up = scratch<T>(rows * 2 * n);
    launched(
        swiglu_cuda({gate_up.data(), nullptr, y.data(), rows, n, Activation::gelu_tanh}, nullptr));
    launched(swiglu_cuda({gate_up.data(), dy.data(), d_gate_up.data(), rows, n, Activation::silu},
                         nullptr));
    return all<T>({y, d_gate_up});
  });
  check<T>("keep_mask" + type<T>(), [&] {
    auto kept = scratch<T>(9001);
    launched(keep_mask_cuda(KeepMaskCuda<T>{kept.data(), 9001, {5, 1, 2, 3, 20000}}, nullptr));
    return kept;
  });
  check<T>("write_pages, copy_pages" + type<T>(), [&] {
    auto cache = scratch<T>(2 * 5 * 2 * 4 * 16 * d);  // [layers, pages, 2, kv_heads, 16, d]
    const std::vector<int32_t> pages{4, -1, 2}, slots{1, 0, 15}, from{4, 2}, to{0, 1};
    launched(write_pages_cuda({x.data(), x.data(), cache.data(), pages.data(), slots.data(), rows,
                               heads, d, heads * d, heads * d, 16},
                              nullptr));
    launched(copy_pages_cuda({cache.data(), from.data(), to.data(), 2, 2, 5,
                              2 * 4 * 16 * d * static_cast<int64_t>(sizeof(T))},
                             nullptr));
    return cache;
  });
  check<T>("token_logprob" + type<T>(), [&] {
    auto logprob = scratch<float>(rows), sum = scratch<float>(rows);
    auto gradient = scratch<T>(rows * vocab);
    launched(token_logprob_cuda(
        {logits.data(), targets.data(), logprob.data(), sum.data(), rows, vocab, 5}, nullptr));
    launched(token_logprob_gradient_cuda(
        TokenLogprobGradientCuda<T>{logits.data(), sum.data(), targets.data(), coefficient.data(),
                                    gradient.data(), rows, vocab, 5},
        nullptr));
    return gradient;
  });
}

void draws() {
  const int64_t rows = 2, vocab = 17000;  // two slices
  const auto logits = random<float>(rows * vocab, 4);
  const std::vector<int32_t> banned{3, 4};
  std::vector<DecodeRow> states(rows);
  for (int64_t i = 0; i < rows; ++i)
    states[i] = {{7, 1, 2, static_cast<uint32_t>(i)}, 0.8, 0.9, 50, 5, 2, 20, 1};
  check<int32_t>("decode_step, sample", [&] {
    std::vector<DecodeRow> state = states;
    const std::vector<int32_t> table{1, 2, 3, 4};
    std::vector<int32_t> tokens{5, 6}, pages(rows), slots(rows), lengths(rows);
    std::vector<int64_t> inputs(rows), positions(rows);
    std::vector<SampleRow> row(rows);
    std::vector<float> logprob(rows);
    std::vector<uint64_t> memory(sample_scratch(rows, vocab) / 8 + 1);
    launched(decode_step_cuda(
        {state.data(), tokens.data(), table.data(), inputs.data(), positions.data(), pages.data(),
         slots.data(), lengths.data(), row.data(), rows, 2, 0, 16},
        nullptr));
    launched(sample_cuda({logits.data(), row.data(), banned.data(), tokens.data(), logprob.data(),
                          memory.data(), rows, vocab},
                         nullptr));
    for (const int32_t token : tokens)
      require(token >= 0 && token < vocab, "sample drew " + std::to_string(token));
    return tokens;
  });
}

void optimizer() {
  const int64_t n = 1000, blocks = (n + kStateBlock - 1) / kStateBlock;
  const AdamWScalars scalars{0.99f, 0.1f, 0.999f, 0.001f, 1e-3f, 0.1f, 1e-8f, 0.5f};
  const auto start = random<float>(n), gradient = random<float>(n);
  const auto half = random<uint16_t>(n);
  check<float>("adamw", [&] {
    auto master = start, m = scratch<float>(n), v = m;
    auto weight = scratch<uint16_t>(n);
    launched(adamw_cuda(AdamWCuda<uint16_t>{master.data(), m.data(), v.data(), gradient.data(),
                                            nullptr, weight.data(), n, scalars},
                        nullptr));
    return all<float>({master, m, v});
  });
  check<uint16_t>("adamw, small forms", [&] {
    auto weight = half;
    std::vector<int16_t> remainder(n);
    std::vector<uint8_t> m(n), v(n);
    auto m_scale = scratch<float>(blocks), v_scale = m_scale;
    launched(adamw_forms_cuda({nullptr, remainder.data(), weight.data(), nullptr, nullptr, m.data(),
                               v.data(), m_scale.data(), v_scale.data(), nullptr, half.data(), n},
                              scalars, nullptr));
    return weight;
  });
  check<double>("sum_of_squares", [&] {
    auto parts = scratch<double>(2);
    launched(sum_of_squares_cuda(gradient.data(), parts.data(), n, nullptr));
    launched(sum_of_squares_cuda(half.data(), parts.data() + 1, n, nullptr));
    return parts;
  });
}

// Rows of two prompts: three sequences that share two full pages, one of them idle, and a single
// one.
template <class T>
void paged(int64_t kv_heads, int64_t group, int64_t d, int64_t window) {
  const int64_t rows = 4, heads = kv_heads * group, max_pages = 5;
  const auto q = random<T>(rows * heads * d), cache = random<T>(12 * 2 * kv_heads * 16 * d);
  const std::vector<int32_t> table{0,  1,  2,  3,  -1, 0, 1, 4, -1, -1,
                                   -1, -1, -1, -1, -1, 5, 6, 7, 8,  9},
      lengths{61, 47, 0, 80}, groups{0, 3, 2, 2, 3, 1, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0};
  check<T>("paged_decode_attention" + type<T>() + ", heads of " + std::to_string(d), [&] {
    auto out = scratch<T>(rows * heads * d);
    auto parts = scratch<float>(paged_scratch(rows, heads, d, 80));
    const float softcap = window > 0 ? 4.0f : 0.0f;
    const PagedPlanCuda of{lengths.data(), groups.data(), rows, heads, kv_heads, d, 80,
                           window,         softcap};
    auto plan = scratch<int32_t>(paged_plan_values(of));
    if (sizeof(T) == 2) launched(paged_plan_cuda(of, plan.data(), nullptr));
    launched(paged_decode_cuda(
        PagedCuda<T>{q.data(), cache.data(), table.data(), lengths.data(), groups.data(),
                     out.data(), parts.data(), plan.data(), rows, heads, kv_heads, d, heads * d,
                     max_pages, 80, window, 0.2f, softcap},
        nullptr));
    return out;
  });
}

// A prompt, a completion of it, and a separate sequence.
template <class T>
void packed(int64_t kv_heads, int64_t group, int64_t d, int64_t window) {
  const int64_t heads = kv_heads * group, tokens = 70 + 21 + 5,
                query_rows = packed_query_rows(group, d, sizeof(T) == 2),
                key_rows = packed_key_rows(d);
  struct Span {
    int32_t start, length, prefix;
  };
  const std::vector<Span> spans{{0, 70, -1}, {70, 21, 0}, {91, 5, -1}};
  std::vector<QueryTile> queries;
  std::vector<KeyTile> keys;
  std::vector<Viewer> viewers;
  const auto least = [](int64_t a, int64_t b) { return static_cast<int32_t>(a < b ? a : b); };
  for (size_t i = 0; i < spans.size(); ++i) {
    const Span s = spans[i];
    for (int32_t row = 0; row < s.length; row += static_cast<int32_t>(query_rows))
      queries.push_back({s.start + row, least(query_rows, s.length - row), row, 0,
                         s.prefix < 0 ? 0 : spans[s.prefix].length});
    const auto first = static_cast<int32_t>(viewers.size());
    viewers.push_back({s.start, s.length, 0});
    if (i == 0) viewers.push_back({70, 21, 70});
    for (int32_t row = 0; row < s.length; row += static_cast<int32_t>(key_rows))
      keys.push_back({s.start + row, least(key_rows, s.length - row), row, first,
                      static_cast<int32_t>(viewers.size()) - first});
  }
  const auto q = random<T>(tokens * heads * d), k = random<T>(tokens * kv_heads * d),
             v = random<T>(tokens * kv_heads * d), d_out = random<T>(tokens * heads * d);
  check<T>("packed_attention" + type<T>() + ", heads of " + std::to_string(d), [&] {
    auto out = scratch<T>(tokens * heads * d), d_q = out, d_k = scratch<T>(tokens * kv_heads * d),
         d_v = d_k;
    auto logsumexp = scratch<float>(tokens * heads), delta = logsumexp;
    const PackedCuda<T> forward{
        q.data(),
        k.data(),
        v.data(),
        out.data(),
        logsumexp.data(),
        {queries.data(), keys.data(), viewers.data(), static_cast<int64_t>(queries.size()),
         static_cast<int64_t>(keys.size())},
        heads,
        kv_heads,
        d,
        heads * d,
        kv_heads * d,
        kv_heads * d,
        window,
        0.2f,
        window > 0 ? 4.0f : 0.0f,
        heads,
        1};
    launched(packed_attention_cuda(forward, nullptr));
    launched(
        packed_gradient_cuda(PackedGradientCuda<T>{forward, out.data(), d_out.data(), delta.data(),
                                                   d_q.data(), d_k.data(), d_v.data()},
                             nullptr));
    return all<T>({out, d_q, d_k, d_v});
  });
  check<T>("sum_rows" + type<T>(), [&] {
    const std::vector<int32_t> offsets{0, 2, 2, 5}, sources{0, 7, 1, 2, 30};
    auto a = scratch<T>(3 * heads * d), b = a;
    launched(sum_rows_cuda(SumRowsCuda<T>{q.data(), d_out.data(), a.data(), b.data(),
                                          offsets.data(), sources.data(), 3, heads * d},
                           nullptr));
    return all<T>({a, b});
  });
}

template <class T>
void kernels() {
  norms<T>(11, 48);
  norms<T>(9, 37);
  elementwise<T>();
  for (const int64_t window : {0, 20}) {
    paged<T>(2, 3, 64, window);
    paged<T>(1, 2, 128, window);
    paged<T>(1, 1, 40, window);
    paged<T>(1, 12, 64, window);  // more queries than a block holds at once
    packed<T>(1, 37, 8, window);  // likewise
    packed<T>(2, 3, 32, window);
    packed<T>(1, 1, 128, window);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) wanted = argv[1];
  kernels<float>();
  kernels<uint16_t>();
  draws();
  optimizer();
}
