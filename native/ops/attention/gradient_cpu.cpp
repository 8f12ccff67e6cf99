// Cuts the gradient of packed attention into tasks, a prompt with its completions × a kv head. Each
// task writes its own rows and heads.
#include "ops/attention/device.h"
#include "ops/attention/gradient_kernel.h"
#include "ops/attention/launch.h"
#include "ops/attention/op.h"
#include "support/device.h"

namespace cream::ops {
namespace {

// Prompts and completions in the kernel's form; a group is segments first … last−1.
struct Groups {
  std::vector<attend::Stretch> stretches;
  std::vector<attend::Range> ranges;
};

// Empty if a completion does not follow its prompt's group.
Groups groups_of(const std::vector<Segment>& segments) {
  Groups groups;
  for (size_t i = 0; i < segments.size(); ++i) {
    const int64_t at = static_cast<int64_t>(i);
    if (segments[i].prefix < 0)
      groups.ranges.push_back({at, at});
    else if (groups.ranges.empty() || groups.ranges.back().first != segments[i].prefix)
      return {};
    groups.ranges.back().last = at + 1;
    groups.stretches.push_back({segments[i].start, segments[i].length});
  }
  return groups;
}

}  // namespace

AttentionGradient packed_attention_gradient(const Tensor& q, const Tensor& k, const Tensor& v,
                                            const Tensor& d_out,
                                            const std::vector<Segment>& segments,
                                            const AttentionKind& kind) {
  if (on_device(q)) return device::packed_attention_gradient(q, k, v, d_out, segments, kind);
  const at::NoGradGuard no_grad;
  const int64_t heads = q.size(1), d = q.size(2), kv_heads = k.size(1), group = heads / kv_heads;
  const Groups groups = groups_of(segments);
  if (!fast_inputs(q, {k, v, d_out}) || !head_dim_fits(d) || groups.ranges.empty())
    return reference::packed_attention_gradient(q, k, v, d_out, segments, kind);
  const Tensor queries = by_rows(q), keys = by_rows(k), values = by_rows(v),
               slope = d_out.contiguous();
  AttentionGradient out{at::empty(q.sizes(), q.options()), at::empty(k.sizes(), k.options()),
                        at::empty(v.sizes(), v.options())};
  by_type(q, [&]<Level L, class T>() {
    const int64_t tasks = static_cast<int64_t>(groups.ranges.size()) * kv_heads;
    parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const auto& range = groups.ranges[static_cast<size_t>(i / kv_heads)];
        const int64_t kv = i % kv_heads, first_query = kv * group * d, first_key = kv * d;
        const attend::Gradient<T> task{groups.stretches.data() + range.first,
                                       range.last - range.first,
                                       data<T>(queries) + first_query,
                                       data<T>(keys) + first_key,
                                       data<T>(values) + first_key,
                                       data<T>(slope) + first_query,
                                       mutable_data<T>(out.q) + first_query,
                                       mutable_data<T>(out.k) + first_key,
                                       mutable_data<T>(out.v) + first_key,
                                       queries.stride(0),
                                       keys.stride(0),
                                       values.stride(0),
                                       heads * d,
                                       heads * d,
                                       kv_heads * d,
                                       kv_heads * d,
                                       group,
                                       d,
                                       static_cast<float>(kind.scale_of(d)),
                                       static_cast<float>(kind.softcap),
                                       kind.window};
        attend::gradient<L>(task, scratch(attend::gradient_scratch_floats<L>(task)));
      }
    });
  });
  count_fast_run(Op::packed_attention_gradient);
  return out;
}

}  // namespace cream::ops
