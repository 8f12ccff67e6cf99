// A group of one rank, which sends everything to itself: the only group that one GPU can test.
#include "rank_training.h"
#include "ranks.h"
#include "test_device.h"

#include "check.h"  // last: a torch header above defines a CHECK of its own

using namespace cream;
using namespace rank_training;

namespace {

// NCCL on the GPU that is named; without one, Gloo on the CPU.
at::Device device_of_group() {
  const at::Device device = check::test_device();
  if (device.is_cuda() ? !built_with_nccl() : !built_with_gloo())
    throw check::Skip("this build has no process group for " + device.str());
  return device.is_cuda() ? device : at::Device(at::kCPU);
}

std::shared_ptr<Ranks> one_rank() {
  RankEnvironment place;
  place.master_address = "127.0.0.1";
  place.master_port = check::free_port();
  return join_ranks(place);
}

void send_to_self(Group& group, at::Device device) {
  CHECK(group.size() == 1 && !group.single());
  const Tensor values = at::arange(12, at::kFloat).to(device);
  const Tensor sum = values.clone(), shard = at::empty_like(values);
  group.all_reduce(sum)();
  group.reduce_scatter(shard, values)();
  CHECK(at::equal(sum, values) && at::equal(shard, values));
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kByte}) {
    const Tensor own = values.to(dtype), all = at::empty_like(own), first = at::empty_like(own),
                 second = at::empty_like(own);
    group.all_gather(all, own)();
    group.all_gather({first, second}, {own, own.flip(0)})();
    CHECK(at::equal(all, own) && at::equal(first, own) && at::equal(second, own.flip(0)));
  }
}

// Equal but for the order in which the buckets' squares are added for clipping.
void same_steps(Trainer& joined, Trainer& alone) {
  const auto same = [](const StepMetrics& a, const StepMetrics& b) {
    CHECK(a.tokens == b.tokens);
    for (const auto& [left, right] : {std::pair{a.loss, b.loss},
                                      {a.grad_norm, b.grad_norm},
                                      {a.reward_margin, b.reward_margin},
                                      {a.logp_chosen, b.logp_chosen}})
      CHECK(std::abs(left - right) <= 1e-5 * std::abs(right) + 1e-9);
  };
  same(joined.preference_step(pairs_of(4), Cancel()), alone.preference_step(pairs_of(4), Cancel()));
}

}  // namespace

CHECK_CASE(
    "parallel: a group of one rank trains as no group does, with whole and sharded weights") {
  const at::Device device = device_of_group();
  const std::shared_ptr<Ranks> ranks = one_rank();
  send_to_self(ranks->group(), device);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16})
    for (const bool sharded : {false, true}) {
      check::TinyShape shape;
      shape.dtype = dtype;
      Transformer model = check::moved(check::tiny_model(shape), device),
                  same = check::moved(check::tiny_model(shape), device);
      TrainerParams params = rank_params();
      Trainer alone(same, params, {});
      params.shard_weights = sharded;
      Trainer joined(model, params, {}, ranks->group(), kBucket);
      same_steps(joined, alone);
      if (sharded) joined.gather_weights();
      auto left = model.weights().parameters(model.config()),
           right = same.weights().parameters(same.config());
      for (size_t i = 0; i < left.size(); ++i)
        CHECK_RELATIVE(*left[i].second, *right[i].second, dtype == at::kFloat ? 1e-5 : 1e-2);
    }
  ranks->leave();
}
