// An adapter on a device is two thin GEMMs: x·Aᵀ, of all adapters of a layer at once, and its
// product with Bᵀ, which the GEMM itself scales and adds to the adapter's columns of y. The
// backward pass is the same in reverse. Nothing is rounded to or from fp32 in between, and no
// column is copied.
#include "ops/launch.h"
#include "ops/linear/device.h"
#include "ops/linear/product.h"

namespace cream::ops::device {
namespace {

// Consecutive adapters of a layer that read the same input with the same scale: their matrices A
// are multiplied as one. Dropout gives each adapter an input of its own.
struct Group {
  const LinearAdapter* first;
  size_t count;
  double scale;
  Tensor down;  // A, one below the other: [ranks, in]
  Tensor kept;  // dropout's mask, or undefined

  Tensor input(const Tensor& x) const { return kept.defined() ? x * kept : x; }

  // f(adapter, its columns of `values` [rows, ranks])
  template <class F>
  void each(const Tensor& values, const F& f) const {
    int64_t begin = 0;
    for (size_t i = 0; i < count; ++i) {
      const LinearAdapter& adapter = first[i];
      const int64_t rank = adapter.down.weight.size(0);
      f(adapter, values.narrow(1, begin, rank));
      begin += rank;
    }
  }
};

std::vector<Group> groups_of(const Linear& w, const Tensor& x) {
  std::vector<Group> groups;
  for (size_t i = 0, end; i < w.adapters.size(); i = end) {
    const LinearAdapter& adapter = w.adapters[i];
    const double rate = adapter.dropout.rate;
    std::vector<Tensor> downs;
    for (end = i; end < w.adapters.size() && (end == i || rate == 0) &&
                  w.adapters[end].scale == adapter.scale && w.adapters[end].dropout.rate == rate;
         ++end)
      downs.push_back(w.adapters[end].down.weight.detach());
    groups.push_back({&adapter, end - i, adapter.scale / (1 - rate),
                      downs.size() == 1 ? downs[0] : at::cat(downs), Tensor()});
    if (rate > 0)
      groups.back().kept =
          keep_mask(adapter.dropout, x.size(0), x.size(1), x.options().requires_grad(false));
  }
  return groups;
}

Tensor columns(const Tensor& y, const LinearAdapter& adapter) {
  return y.narrow(1, adapter.begin, adapter.up.weight.size(0));
}

// Returns y and the products with A, [rows, ranks], of every group.
std::pair<Tensor, std::vector<Tensor>> forward(const Tensor& x, const Linear& w) {
  Tensor y = product(x, w.weight, x.scalar_type());
  if (w.bias.defined()) y.add_(w.bias);
  std::vector<Tensor> low;
  for (const Group& group : groups_of(w, x)) {
    low.push_back(product(group.input(x), group.down, x.scalar_type()));
    group.each(low.back(), [&](const LinearAdapter& adapter, const Tensor& values) {
      add_product(columns(y, adapter), values, adapter.up.weight.detach(), group.scale);
    });
  }
  return {y, low};
}

struct Adapted : torch::autograd::Function<Adapted> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x,
                        const Linear* w) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const at::NoGradGuard no_grad;
    auto [y, low] = device::forward(x, *w);
    std::vector<Tensor> saved{x};
    saved.insert(saved.end(), low.begin(), low.end());
    context->save_for_backward(saved);
    context->saved_data["layer"] = reinterpret_cast<int64_t>(w);
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const at::NoGradGuard no_grad;
    const auto& w = *reinterpret_cast<const Linear*>(context->saved_data["layer"].toInt());
    const std::vector<Tensor> saved = context->get_saved_variables();
    const Tensor &x = saved[0], dy = gradients[0].contiguous();
    if (w.gradient.defined()) add_weight_gradient(w.gradient, dy, x, 1);
    Tensor d_x = at::mm(dy, w.weight.detach());
    size_t number = 0;
    for (const Group& group : groups_of(w, x)) add_group(group, dy, x, saved[++number], d_x);
    return {d_x, Tensor()};
  }

 private:
  static void add_group(const Group& group, const Tensor& dy, const Tensor& x, const Tensor& low,
                        Tensor& d_x) {
    Tensor d_low = at::empty_like(low);
    group.each(d_low, [&](const LinearAdapter& adapter, Tensor to) {
      at::mm_out(to, columns(dy, adapter), adapter.up.weight.detach());
    });
    group.each(low, [&](const LinearAdapter& adapter, const Tensor& product) {
      if (adapter.up.gradient.defined())
        add_weight_gradient(adapter.up.gradient, columns(dy, adapter), product, group.scale);
    });
    const Tensor input = group.input(x);
    group.each(d_low, [&](const LinearAdapter& adapter, const Tensor& part) {
      if (adapter.down.gradient.defined())
        add_weight_gradient(adapter.down.gradient, part, input, group.scale);
    });
    if (group.kept.defined())
      d_x.addcmul_(at::mm(d_low, group.down), group.kept, group.scale);
    else
      d_x.addmm_(d_low, group.down, 1, group.scale);
  }
};

}  // namespace

bool runs_adapted(const Tensor& x, const Linear& w) {
  return !w.adapters.empty() && device_dtype(x) && x.dim() == 2 &&
         x.scalar_type() == w.weight.scalar_type() && !w.weight.requires_grad() &&
         !w.adapters.front().down.weight.requires_grad();
}

Tensor adapted(const Tensor& x, const Linear& w) {
  if (at::GradMode::is_enabled() && x.requires_grad()) return Adapted::apply(x, &w);
  return forward(x, w).first;
}

}  // namespace cream::ops::device
