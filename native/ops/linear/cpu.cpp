// Binds the packed kernel to tensors: who may use it, and how the work is cut over threads.
// Cut: chunks of rows (as many as stay in L2 once gathered) × panels of 32 columns, in contiguous runs, one a thread.
#include "ops/dispatch.h"
#include "ops/linear/kernel.h"
#include "ops/linear/packed.h"
#include "ops/softcap/op.h"
#include "support/error.h"

namespace cream::ops {
namespace packed {

int64_t chunk_rows(int64_t in) {
  const int64_t rows = gather_bytes / (2 * padded_in(in));
  return std::max(block_rows, rows / block_rows * block_rows);
}

const Weight* usable(const Tensor& x, const Linear& w) {
  if (!w.packed || !fast_path() || x.scalar_type() != at::kBFloat16 || !x.device().is_cpu() || x.dim() != 2) return nullptr;
  if (at::GradMode::is_enabled() && (x.requires_grad() || w.weight.requires_grad())) return nullptr;
  return static_cast<const Weight*>(w.packed.get());
}

namespace {

// This thread's room for gathered rows; kept, so that a decode step allocates nothing.
uint16_t* gather_buffer(int64_t values) {
  static thread_local std::vector<uint16_t> buffer;
  if (static_cast<int64_t>(buffer.size()) < values + 32) buffer.resize(values + 32);
  return reinterpret_cast<uint16_t*>((reinterpret_cast<uintptr_t>(buffer.data()) + 63) & ~uintptr_t{63});
}

Tensor multiply(const Tensor& input, const Weight& w, bool f32) {
  const Tensor x = input.stride(1) == 1 ? input : input.contiguous();
  const int64_t rows = x.size(0), count = panels(w.out), chunk = chunk_rows(w.in);
  if (x.size(1) != w.in)
    throw Error(ErrorCode::internal, "linear: x has " + std::to_string(x.size(1)) + " columns, the weight takes " + std::to_string(w.in) + ".");
  Tensor y = at::empty({rows, w.out}, x.options().dtype(f32 ? at::kFloat : at::kBFloat16));
  const uint16_t* from = static_cast<const uint16_t*>(x.const_data_ptr());
  char* to = static_cast<char*>(y.mutable_data_ptr());
  const int64_t width = f32 ? 4 : 2;
  at::parallel_for(0, (rows + chunk - 1) / chunk * count, 1, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t row = begin / count * chunk, n = std::min(chunk, rows - row);
      const int64_t first = begin % count, last = std::min(count, first + end - begin);
      uint16_t* gathered = gather_buffer(n * padded_in(w.in));
      gather_avx512(from + row * x.stride(0), x.stride(0), n, w.in, gathered);
      multiply_avx512({gathered, n, w.in, w.data(), w.out, first, last, to + (row * w.out + first * panel_columns) * width, w.out, f32});
      begin += last - first;
    }
  });
  count_fast_run(f32 ? Op::linear_f32 : Op::linear);
  return y;
}

}  // namespace
}  // namespace packed

void pack(Linear& linear) {
  linear.packed.reset();
  for (LinearAdapter& adapter : linear.adapters) pack(adapter.down), pack(adapter.up);
  const Tensor& w = linear.weight;
  if (!cpu_features().avx512_bf16 || w.scalar_type() != at::kBFloat16 || !w.device().is_cpu() || w.dim() != 2) return;
  at::NoGradGuard no_grad;
  const Tensor weight = w.contiguous();
  auto packed = std::make_shared<packed::Weight>();
  packed->out = w.size(0);
  packed->in = w.size(1);
  const int64_t count = packed::panels(packed->out);
  packed->storage = at::empty({count * packed::panel_size(packed->in)}, w.options().requires_grad(false));
  const uint16_t* from = static_cast<const uint16_t*>(weight.const_data_ptr());
  uint16_t* to = static_cast<uint16_t*>(packed->storage.mutable_data_ptr());
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    packed::pack_avx512(from, packed->out, packed->in, begin, end, to);
  });
  linear.packed = std::move(packed);
}

void unpack(Linear& linear) {
  linear.packed.reset();
  for (LinearAdapter& adapter : linear.adapters) unpack(adapter.down), unpack(adapter.up);
}

namespace {

// y: the product, whose memory is ours.
Tensor add_terms(Tensor y, const Tensor& x, const Linear& w) {
  if (w.bias.defined()) y.add_(w.bias);
  for (const LinearAdapter& adapter : w.adapters)
    y.narrow(1, adapter.begin, adapter.up.weight.size(0)).add_(linear(linear(x, adapter.down), adapter.up), adapter.scale);
  return y;
}

}  // namespace

Tensor linear(const Tensor& x, const Linear& w) {
  if (const auto* fast = packed::usable(x, w)) return add_terms(packed::multiply(x, *fast, /*f32=*/false), x, w);
  return add_terms(reference::linear(x, w.weight), x, w);
}

Tensor linear_f32(const Tensor& x, const Linear& w) {
  const auto* fast = packed::usable(x, w);
  Tensor y = add_terms(fast ? packed::multiply(x, *fast, /*f32=*/true) : reference::linear_f32(x, w.weight), x, w);
  softcap_(y, w.softcap);
  return y;
}

}  // namespace cream::ops
