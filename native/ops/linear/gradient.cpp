// Distributes the two gradient products over the threads, in items small enough to balance the
// load. A thread packs what an item needs once and keeps it for its next items.
#include <algorithm>

#include "ops/launch.h"
#include "ops/linear/kernel.h"
#include "ops/linear/op.h"
#include "ops/linear/pack_buffer.h"
#include "support/device.h"
#include "support/parallel.h"

namespace cream::ops {
namespace {

using namespace packed;

constexpr int64_t most_outputs = 3072;  // depth of one pass of dy·W
constexpr int64_t most_tokens = 1024;   // depth of one pass of dyᵀ·x
constexpr int64_t panels_an_item = 6;
// Of dy, paired, in L2.
template <Level L>
constexpr int64_t strip_bytes = (L == Level::amx ? 256 : 120) << 10;

bool fits(const Tensor& a, const Tensor& b) {
  const auto plain = [](const Tensor& t) { return t.dim() == 2 && fast_dtype(t); };
  return plain(a) && plain(b) && a.scalar_type() == b.scalar_type();
}
Tensor by_rows(const Tensor& t) { return t.stride(1) == 1 ? t : t.contiguous(); }
int64_t ceil_div(int64_t n, int64_t size) { return (n + size - 1) / size; }

// Packs rows begin … begin + depth − 1 of the matrix as panels.
template <Level L, class T>
void pack_rows(const Tensor& matrix, int64_t begin, int64_t depth, T* packed) {
  const int64_t stride = matrix.stride(0), columns = matrix.size(1);
  parallel_for(0, panels(columns), 1, [&](int64_t first, int64_t last) {
    pack_columns<L, T>(data<T>(matrix) + begin * stride, stride, depth, columns, first, last,
                       packed + first * panel_size(depth));
  });
}

// y += dy[:, depth range]·W[depth range, :], or y = … in bf16 if the range is the whole depth.
template <Level L, class T>
struct InputGradient {
  using Row = Gathered<L, T>;
  static constexpr int64_t chunk_rows = 2 * whole_blocks<L>;
  const Tensor &dy, &weight;
  Tensor y;
  Tensor gathered;  // [left_rows, padded depth] of Row
  Tensor packed;    // the depth range of W, as panels
  int64_t rows, in;

  void add(int64_t begin, int64_t depth) {
    const int64_t chunks = ceil_div(rows, chunk_rows), padded = padded_in(depth),
                  count = panels(in);
    Row* left = mutable_data<Row>(gathered);
    T* right = mutable_data<T>(packed);
    parallel_for(0, chunks, 1, [&](int64_t first, int64_t last) {
      for (int64_t c = first; c < last; ++c) {
        const int64_t row = c * chunk_rows, n = std::min(chunk_rows, rows - row);
        gather<L, T>(data<T>(dy) + row * dy.stride(0) + begin, dy.stride(0), n, depth,
                     left + row * padded);
      }
    });
    pack_rows<L, T>(weight, begin, depth, right);
    const bool f32 = y.scalar_type() == at::kFloat;
    auto* to = static_cast<char*>(y.mutable_data_ptr());
    // A chunk's rows stay in L2 while all panels pass.
    parallel_for(0, chunks * count, 1, [&](int64_t first, int64_t last) {
      while (first < last) {
        const int64_t row = first / count * chunk_rows, n = std::min(chunk_rows, rows - row),
                      panel = first % count, end = std::min(count, panel + last - first);
        multiply_gathered<L, T>({left + row * padded, n, depth, right, panel, end,
                                 to + (row * in + panel * panel_columns) * (f32 ? 4 : 2), in, in},
                                f32);
        first += end - panel;
      }
    });
  }
};

// sum += dy[tokens, :]ᵀ·x[tokens, :].
template <Level L, class T>
void add_tokens(float* sum, const Tensor& dy, const Tensor& x, Tensor& packed_x, int64_t begin,
                int64_t tokens) {
  const int64_t out = dy.size(1), in = x.size(1), count = panels(in), padded = padded_in(tokens);
  using Row = Gathered<L, T>;
  T* right = mutable_data<T>(packed_x);
  pack_rows<L, T>(x, begin, tokens, right);
  const int64_t strip = std::max<int64_t>(1, strip_bytes<L> / (static_cast<int64_t>(sizeof(Row)) *
                                                               padded * block_rows<L>)) *
                        block_rows<L>,
                groups = ceil_div(count, panels_an_item);
  const uint64_t product = next_product();
  parallel_for(0, ceil_div(out, strip) * groups, 1, [&](int64_t first, int64_t last) {
    static thread_local PackBuffer buffer;
    for (int64_t item = first; item < last; ++item) {
      const int64_t row = item / groups * strip, n = std::min(strip, out - row);
      const Row* left = buffer.of<Row>(product, row, left_rows<L>(n) * padded, [&](Row* at) {
        pair_columns<L, T>(data<T>(dy) + begin * dy.stride(0) + row, dy.stride(0), tokens, n, at);
      });
      const int64_t panel = item % groups * panels_an_item;
      add_paired<L, T>({left, n, tokens, right, panel, std::min(count, panel + panels_an_item),
                        sum + row * in + panel * panel_columns, in, in});
    }
  });
}

}  // namespace

Tensor linear_input_gradient(const Tensor& dy, const Tensor& weight) {
  const at::NoGradGuard no_grad;
  if (!fits(dy, weight)) return reference::linear_input_gradient(dy, weight);
  const Tensor slope = by_rows(dy), w = by_rows(weight);
  const int64_t rows = slope.size(0), out = slope.size(1), in = w.size(1);
  const int64_t depth = std::min(out, most_outputs);
  const bool once = depth == out && slope.scalar_type() == at::kBFloat16;
  const Tensor y = once ? at::empty({rows, in}, slope.options())
                        : at::zeros({rows, in}, slope.options().dtype(at::kFloat));
  by_product_type(slope, [&]<Level L, class T>() {
    const auto dtype = std::is_same_v<Gathered<L, T>, float> ? at::kFloat : at::kBFloat16;
    InputGradient<L, T> gradient{
        slope,
        w,
        y,
        at::empty({left_rows<L>(rows), padded_in(depth)}, slope.options().dtype(dtype)),
        at::empty({panels(in) * panel_size(depth)}, w.options()),
        rows,
        in};
    for (int64_t begin = 0; begin < out; begin += depth)
      gradient.add(begin, std::min(depth, out - begin));
  });
  count_fast_run(Op::linear_gradient);
  return y.to(slope.scalar_type());
}

void add_linear_weight_gradient(Tensor& sum, const Tensor& dy, const Tensor& x) {
  const at::NoGradGuard no_grad;
  if (on_device(dy)) return device::add_linear_weight_gradient(sum, dy, x);
  if (!fits(dy, x) || !sum.is_contiguous() || sum.scalar_type() != at::kFloat)
    return reference::add_linear_weight_gradient(sum, dy, x);
  const Tensor slope = by_rows(dy), input = by_rows(x);
  const int64_t tokens = slope.size(0), depth = std::min(tokens, most_tokens);
  Tensor buffer = at::empty({panels(input.size(1)) * panel_size(depth)}, input.options());
  by_product_type(slope, [&]<Level L, class T>() {
    for (int64_t begin = 0; begin < tokens; begin += depth)
      add_tokens<L, T>(sum.mutable_data_ptr<float>(), slope, input, buffer, begin,
                       std::min(depth, tokens - begin));
  });
  count_fast_run(Op::linear_gradient);
}

}  // namespace cream::ops
