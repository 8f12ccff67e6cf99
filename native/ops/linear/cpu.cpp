// Runs the packed kernel on tensors: decides when it may be used and distributes work over threads
// as chunks of rows × panels of 32 columns, one contiguous range per thread. A chunk has as many
// rows as stay in L2 once gathered.
#include <atomic>

#include "ops/launch.h"
#include "ops/linear/device.h"
#include "ops/linear/kernel.h"
#include "ops/linear/pack_buffer.h"
#include "ops/linear/packed.h"
#include "ops/linear/product.h"
#include "ops/softcap/op.h"
#include "support/device.h"
#include "support/error.h"
#include "support/parallel.h"

namespace cream::ops {
namespace packed {

uint64_t next_product() {
  static std::atomic<uint64_t> products{0};
  return ++products;
}

const Weight* usable(const Tensor& x, const Linear& w) {
  if (!w.packed || !fast_path() || x.scalar_type() != w.weight.scalar_type() ||
      !x.device().is_cpu() || x.dim() != 2)
    return nullptr;
  if (at::GradMode::is_enabled() && (x.requires_grad() || w.weight.requires_grad())) return nullptr;
  return static_cast<const Weight*>(w.packed.get());
}

namespace {

// Of x, kept in L2 per thread: 1 MB of it at least where there is AVX-512, 2 MB with AMX.
template <Level L>
constexpr int64_t gather_bytes = (L == Level::amx ? 768 : 256) << 10;

constexpr int64_t large_output = 16 << 20;  // bytes, beyond the L2 of a few cores

template <Level L, class T>
void multiply_rows(const Tensor& x, const Weight& w, Tensor& y, bool f32) {
  using Row = Gathered<L, T>;
  const int64_t rows = x.size(0), count = panels(w.out),
                fit = gather_bytes<L> / (static_cast<int64_t>(sizeof(Row)) * padded_in(w.in));
  const int64_t chunk = std::max(block_rows<L>, fit / block_rows<L> * block_rows<L>);
  const T* from = data<T>(x);
  char* to = static_cast<char*>(y.mutable_data_ptr());
  const int64_t width = f32 ? 4 : 2;
  const bool past_caches = f32 && rows * w.out * width > large_output && w.out % 16 == 0;
  const uint64_t product = next_product();
  parallel_for(0, (rows + chunk - 1) / chunk * count, 1, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t row = begin / count * chunk, n = std::min(chunk, rows - row);
      const int64_t first = begin % count, last = std::min(count, first + end - begin);
      static thread_local PackBuffer buffer;
      const int64_t values = left_rows<L>(n) * padded_in(w.in);
      const Row* gathered = buffer.of<Row>(product, row, values, [&](Row* to_rows) {
        gather<L, T>(from + row * x.stride(0), x.stride(0), n, w.in, to_rows);
      });
      multiply<L, T>({gathered, n, w.in, w.data<T>(), w.out, first, last,
                      to + (row * w.out + first * panel_columns) * width, w.out, f32, past_caches});
      begin += last - first;
    }
  });
}

Tensor fast_product(const Tensor& input, const Weight& w, bool f32) {
  const Tensor x = input.stride(1) == 1 ? input : input.contiguous();
  if (x.size(1) != w.in)
    throw Error(ErrorCode::internal, "linear: x has " + std::to_string(x.size(1)) +
                                         " columns, the weight takes " + std::to_string(w.in) +
                                         ".");
  f32 = f32 || x.scalar_type() == at::kFloat;
  Tensor y = at::empty({x.size(0), w.out}, x.options().dtype(f32 ? at::kFloat : at::kBFloat16));
  by_product_type(x, [&]<Level L, class T>() { multiply_rows<L, T>(x, w, y, f32); });
  count_fast_run(f32 ? Op::linear_f32 : Op::linear);
  return y;
}

}  // namespace
}  // namespace packed

void pack(Linear& linear) {
  pack_adapters(linear);
  const Tensor& w = linear.weight;
  const bool fits = (w.scalar_type() == at::kBFloat16 || w.scalar_type() == at::kFloat) &&
                    w.device().is_cpu() && w.dim() == 2;
  if (cpu_level() == Level::plain || !fits) return linear.packed.reset();
  at::NoGradGuard no_grad;
  const Tensor weight = w.contiguous();
  auto packed = std::static_pointer_cast<packed::Weight>(linear.packed);
  if (!packed || packed->source != w.const_data_ptr() || packed->out != w.size(0) ||
      packed->in != w.size(1) || packed->storage.scalar_type() != w.scalar_type()) {
    linear.packed.reset();
    packed = std::make_shared<packed::Weight>();
    packed->source = w.const_data_ptr();
    packed->out = w.size(0);
    packed->in = w.size(1);
    packed->storage = at::empty({packed::panels(packed->out) * packed::panel_size(packed->in)},
                                w.options().requires_grad(false));
  }
  const int64_t count = packed::panels(packed->out);
  by_type(weight, [&]<Level L, class T>() {
    const T* from = data<T>(weight);
    T* to = mutable_data<T>(packed->storage);
    parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
      packed::pack<L, T>(from, packed->out, packed->in, begin, end, to);
    });
  });
  linear.packed = std::move(packed);
}

void pack_adapters(Linear& linear) {
  for (LinearAdapter& adapter : linear.adapters) pack(adapter.down), pack(adapter.up);
}

void unpack(Linear& linear) {
  linear.packed.reset();
  unpack_adapters(linear);
}

void unpack_adapters(Linear& linear) {
  for (LinearAdapter& adapter : linear.adapters) unpack(adapter.down), unpack(adapter.up);
}

namespace {

// Each row's sum depends on that row alone and has one order, without fused multiply-adds in only a
// part of a vector loop. So a decoded token and a scored one get the same bits.
void add_adapter(Tensor& y, const Tensor& x, const LinearAdapter& adapter) {
  const Tensor delta =
      linear_f32(linear(x, adapter.down), adapter.up).mul_(adapter.scale);  // [rows, columns] fp32
  y.narrow(1, adapter.begin, delta.size(1)).add_(delta);
}

// add_adapter() under autograd, in x's dtype: the columns of the adapters side by side, with zeros
// between them.
Tensor adapter_columns(const Tensor& x, const Linear& w) {
  std::vector<Tensor> columns;
  int64_t end = 0;
  const auto fill = [&](int64_t until) {
    if (until > end)
      columns.push_back(at::zeros({x.size(0), until - end}, x.options().requires_grad(false)));
  };
  for (const LinearAdapter& adapter : w.adapters) {
    const InputDropout& dropout = adapter.dropout;
    fill(adapter.begin);
    // The mask is 0 or 1, exact in bf16; its factor 1/(1 − rate) goes into the scale.
    const Tensor input = dropout.rate > 0 ? x * keep_mask(dropout, x.size(0), x.size(1),
                                                          x.options().requires_grad(false))
                                          : x;
    columns.push_back(at::linear(at::linear(input, adapter.down.weight), adapter.up.weight)
                          .mul_(adapter.scale / (1 - dropout.rate)));
    end = adapter.begin + adapter.up.weight.size(0);
  }
  fill(w.weight.size(0));
  return columns.size() == 1 ? columns[0] : at::cat(columns, 1);
}

// Whether this is training's copy of an adapter: it requires gradients, or its input has dropout in
// a recomputed forward pass.
bool trains(const LinearAdapter& adapter) {
  return adapter.dropout.rate > 0 ||
         (at::GradMode::is_enabled() && adapter.down.weight.requires_grad());
}

// Adds bias and adapters to the product y, whose memory is not shared.
Tensor add_terms(Tensor y, const Tensor& x, const Linear& w) {
  if (w.bias.defined()) y.add_(w.bias);
  if (w.adapters.empty()) return y;
  if (trains(w.adapters.front()) || (at::GradMode::is_enabled() && x.requires_grad()))
    return y.add_(adapter_columns(x, w));
  for (const LinearAdapter& adapter : w.adapters) add_adapter(y, x, adapter);
  return y;
}

// The product with the two gradient ops: the weight's gradient is accumulated in w.gradient,
// autograd sees only the input's.
struct Product : torch::autograd::Function<Product> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x,
                        const Linear* w) {
    if (w->gradient.defined()) context->save_for_backward({x});
    context->saved_data["weight"] = w->weight;
    context->saved_data["gradient"] = w->gradient;
    return values(x, *w);
  }
  static Tensor values(const Tensor& x, const Linear& w) {
    if (on_device(x) && x.dim() == 2 && !plain_forced())
      return device::product(x, w.weight.detach(), x.scalar_type());
    const auto* fast = packed::usable(x, w);
    return fast ? packed::fast_product(x, *fast, /*f32=*/false) : reference::linear(x, w.weight);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    if (Tensor sum = context->saved_data["gradient"].toTensor(); sum.defined())
      add_linear_weight_gradient(sum, gradients[0], context->get_saved_variables()[0]);
    return {linear_input_gradient(gradients[0], context->saved_data["weight"].toTensor()),
            Tensor()};
  }
};

Tensor product(const Tensor& x, const Linear& w) {
  const bool gradient = at::GradMode::is_enabled() && x.requires_grad() && x.dim() == 2;
  if (gradient && !w.weight.requires_grad()) return Product::apply(x, &w);
  const bool leaf = at::GradMode::is_enabled() && (x.requires_grad() || w.weight.requires_grad());
  return leaf ? reference::linear(x, w.weight) : Product::values(x, w);
}

}  // namespace

Tensor linear(const Tensor& x, const Linear& w) {
  if (device::runs_adapted(x, w)) return device::adapted(x, w);
  return add_terms(product(x, w), x, w);
}

Tensor linear_f32(const Tensor& x, const Linear& w) {
  const auto* fast = packed::usable(x, w);
  const auto plain = [&] {
    return on_device(x) ? device::linear_f32(x, w.weight) : reference::linear_f32(x, w.weight);
  };
  return add_terms(fast ? packed::fast_product(x, *fast, /*f32=*/true) : plain(), x, w);
}

Tensor linear_f32(const Tensor& x, const Head& head) {
  Tensor y = linear_f32(x, static_cast<const Linear&>(head));
  if (head.multiplier != 1) y.mul_(head.multiplier);
  softcap_(y, head.softcap);
  return y;
}

}  // namespace cream::ops
