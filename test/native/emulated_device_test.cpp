// The emulated device computes as the CPU does and is as strict on devices as a GPU.
#include "emulated_device.h"

#include "support/transient.h"

#include "check.h"

using at::Tensor;
using check::emulated;

namespace {

CHECK_CASE("emulated device: elementwise ops, products, lookups and views are the CPU's") {
  const Tensor a = at::randn({5, 8}), b = at::randn({8, 6}),
               index = at::tensor({4, 0, 4}, at::kLong);
  const Tensor x = emulated(a), y = emulated(b), rows = emulated(index);
  CHECK(x.device() == check::kEmulated && x.data_ptr() != a.data_ptr());
  CHECK_CLOSE((x + 1).mul_(x).cpu(), (a + 1) * a, 0);
  CHECK_CLOSE(at::mm(x, y).cpu(), at::mm(a, b), 0);
  CHECK_CLOSE(x.index_select(0, rows).cpu(), a.index_select(0, index), 0);
  CHECK_CLOSE(at::softmax(x.narrow(1, 2, 4), -1).cpu(), at::softmax(a.narrow(1, 2, 4), -1), 0);
  CHECK_CLOSE(at::cat({x, x.to(at::kBFloat16).to(at::kFloat)}).sum(0).cpu(),
              (at::cat({a, a.to(at::kBFloat16).to(at::kFloat)}).sum(0)), 0);
  CHECK_CLOSE(at::arange(7, x.options()).cpu(), at::arange(7, a.options()), 0);
  CHECK_CLOSE(at::zeros_like(x).index_add_(0, rows, x.narrow(0, 0, 3)).cpu(),
              at::zeros_like(a).index_add_(0, index, a.narrow(0, 0, 3)), 0);
  CHECK_CLOSE(at::tensor({1.5f, 2.5f}, x.options()).cpu(), at::tensor({1.5f, 2.5f}), 0);
  const Tensor view = x.t().select(0, 3);
  view.fill_(7);
  CHECK(x.select(1, 3).sum().item<float>() == 35 && view.is_alias_of(x));
  Tensor grown = at::empty({0}, x.options());
  at::mm_out(grown, x, y);
  CHECK_CLOSE(grown.cpu(), at::mm(x.cpu(), b), 0);
}

CHECK_CASE("emulated device: autograd runs there") {
  const at::AutoGradMode grad(true);
  const Tensor a = at::randn({4, 8}), b = at::randn({3, 8});
  const auto gradients = [](const Tensor& x, const Tensor& w) {
    const Tensor leaf = x.detach().requires_grad_(true), weight = w.detach().requires_grad_(true);
    const Tensor y = at::silu(at::linear(leaf, weight)).narrow(0, 1, 2).square().sum();
    return torch::autograd::grad({y}, {leaf, weight});
  };
  const auto on_cpu = gradients(a, b), on_emulated = gradients(emulated(a), emulated(b));
  for (size_t i = 0; i < 2; ++i) {
    CHECK(on_emulated[i].device() == check::kEmulated);
    CHECK_CLOSE(on_emulated[i].cpu(), on_cpu[i], 1e-5);  // a GEMM may sum in another order
  }
}

CHECK_CASE("transient memory is taken while the tensor's device is the current one") {
  const Tensor x = emulated(at::zeros({3}));
  cream::release_memory(x);
  const int64_t before = check::emulated_guards();
  cream::acquire_memory(x);
  CHECK(check::emulated_guards() > before && cream::has_memory(x));
  CHECK(x.fill_(1).cpu().sum().item<float>() == 3);
}

CHECK_CASE("emulated device: a CPU tensor beside one of the device throws") {
  const Tensor a = at::randn({5, 8}), x = emulated(a);
  const auto throws = [](auto&& body) {
    try {
      body();
    } catch (const c10::Error&) {
      return true;
    }
    return false;
  };
  CHECK(throws([&] { x + a; }) && throws([&] { at::mm(a, x.t()); }) &&
        throws([&] { at::cat({x, a}); }));
  CHECK(throws([&] { x.index_select(0, at::tensor({1}, at::kLong)); }) &&
        throws([&] { x.add_(a); }));
  CHECK_CLOSE((x * at::scalar_tensor(2.0)).cpu(), a * 2,
              0);  // 0-dimensional CPU tensors are allowed
}

}  // namespace
