// Shared by the tests of the fast kernels: inputs laid out as in the model, and a check that the
// fast kernel ran.
#pragma once

#include <functional>

#include "check.h"
#include "ops/attention/op.h"
#include "ops/dispatch.h"
#include "ops/linear/op.h"

namespace check::fast {

using namespace cream;
using at::Tensor;
using ops::Op;

// Defines a case for each level that has kernels; skipped on a CPU without that level.
struct LevelCases {
  LevelCases(const std::string& name, void (*run)()) {
    for (const ops::Level level :
         {ops::Level::avx2, ops::Level::avx512, ops::Level::avx512_bf16, ops::Level::amx})
      cases().push_back({name + ", on " + ops::level_name(level), [level, run] {
                           if (ops::cpu_level() < level)
                             throw Skip(std::string("this CPU has no ") + ops::level_name(level));
                           const ops::ForceLevel force(level);
                           run();
                         }});
  }
};
#define CHECK_LEVELS(name) CHECK_REGISTERED_(::check::fast::LevelCases, name, __COUNTER__)

// Skips the case on a CPU without kernels. On destruction, fails the case if `op`'s kernel did not
// run at the current level.
struct MustRun {
  explicit MustRun(Op op) : op_(op), before_(ops::fast_runs(op)) {
    if (!ops::fast_path()) throw check::Skip("this CPU has no AVX2");
  }
  void done() const { CHECK(ops::fast_runs(op_) > before_); }

 private:
  Op op_;
  uint64_t before_;
};

inline Linear packed(int64_t out, int64_t in, at::ScalarType dtype = at::kBFloat16) {
  Linear w{.weight = at::randn({out, in}).div_(std::sqrt(static_cast<double>(in))).to(dtype)};
  ops::pack(w);
  return w;
}

// A slice of a wider tensor, as q, k and v are of the joined projection: strided rows, contiguous
// heads.
inline Tensor slice(int64_t rows, int64_t heads, int64_t d, at::ScalarType dtype) {
  return at::randn({rows, (heads + 3) * d})
      .to(dtype)
      .narrow(1, d, heads * d)
      .unflatten(1, {heads, d});
}

// Caches whose invalid positions are NaN-poisoned.
struct Cache {
  Tensor keys, values;
  int64_t length, capacity, groups = 0;
  Cache(int64_t kv_heads, int64_t length, int64_t capacity, int64_t d, at::ScalarType dtype)
      : keys(at::full({kv_heads, capacity, d}, NAN, dtype)),
        values(keys.clone()),
        length(length),
        capacity(capacity) {
    keys.narrow(1, 0, length).copy_(at::randn({kv_heads, length, d}));
    values.narrow(1, 0, length).copy_(at::randn({kv_heads, length, d}));
  }
  // A copy whose first groups of keys are transposed.
  Cache grouped(int64_t groups) const {
    Cache copy = *this;
    copy.keys = keys.clone();
    copy.groups = groups;
    for (int64_t head = 0; head < keys.size(0); ++head)
      for (int64_t group = 0; group < groups; ++group)
        ops::group_keys(copy.keys[head].narrow(0, group * key_group, key_group).data_ptr(),
                        keys.size(2), keys.scalar_type());
    return copy;
  }
};

inline DecodeSource source(const Cache* shared, const Cache& own) {
  DecodeSource s;
  if (shared) {
    s.shared_keys = shared->keys.data_ptr(), s.shared_values = shared->values.data_ptr();
    s.shared_length = shared->length, s.shared_capacity = shared->capacity;
    s.shared_grouped = shared->groups * key_group;
  }
  s.own_keys = own.keys.data_ptr(), s.own_values = own.values.data_ptr();
  s.own_length = own.length, s.own_capacity = own.capacity;
  s.own_grouped = own.groups * key_group;
  return s;
}

// The gradient of f at x for a random gradient of f(x) that depends on the seed only.
inline Tensor gradient(uint64_t seed, const Tensor& x,
                       const std::function<Tensor(const Tensor&)>& f) {
  const Tensor leaf = x.detach().requires_grad_(true), y = f(leaf);
  at::manual_seed(seed);
  return torch::autograd::grad({y}, {leaf}, {at::randn(y.sizes()).to(y.scalar_type())})[0];
}

inline double tolerance(at::ScalarType dtype) { return dtype == at::kFloat ? 2e-6 : 4e-3; }

}  // namespace check::fast
