// The communication between the ranks of a training: gradients during a backward pass, and weights
// after an update, in buckets of a fixed order.
#include "optim/optimizer.h"

#include <algorithm>
#include <optional>

#include "ops/adamw/kernel.h"
#include "support/transient.h"

namespace cream {

void Optimizer::make_buckets() {
  for (size_t i = 0; i < entries_.size(); ++i) {
    const OptimizerEntry& entry = entries_[i];
    const int64_t own = sharded() ? entry.shard.stride : entry.parameter.numel();
    const int64_t ranks = sharded() ? group().size() : 1;
    const bool fits = !buckets_.empty() &&
                      (buckets_.back().stride + own) * ranks <=
                          static_cast<int64_t>(distribution_.bucket_elements) &&
                      entries_[buckets_.back().entries.front()].weight.scalar_type() ==
                          entry.weight.scalar_type();
    if (!fits) buckets_.emplace_back();
    buckets_.back().entries.push_back(i);
    buckets_.back().stride += own;
  }
  unsent_ = buckets_.size();
  if (!sharded()) return;
  for (Bucket& bucket : buckets_) {
    const Tensor& like = entries_[bucket.entries.front()].weight;
    bucket.gradient = at::zeros({bucket.stride}, like.options().dtype(at::kFloat));
    int64_t at = 0;
    for (const size_t i : bucket.entries) {
      OptimizerEntry& entry = entries_[i];
      entry.gradient = bucket.gradient.narrow(0, at, entry.shard.size());
      at += entry.shard.stride;
    }
  }
}

void Optimizer::open(size_t index) {
  if (!sharded()) return;
  OptimizerEntry& entry = entries_[index];
  if (entry.sent) receive();  // from the previous pass
  if (has_memory(entry.padded)) return;
  acquire_memory(entry.padded);
  entry.padded.zero_();
}

// First receives what the previous call sent. One layer's gradients are sent while those of the
// next are computed, so at most these two have memory.
void Optimizer::send_from(size_t first) {
  if (!sharded() || !sends_ || unsent_ == 0 || buckets_[unsent_ - 1].entries.front() < first)
    return;
  const at::NoGradGuard no_grad;
  receive();
  for (; unsent_ > 0 && buckets_[unsent_ - 1].entries.front() >= first; --unsent_) {
    under_way_.push_back(unsent_ - 1);
    send(buckets_[unsent_ - 1]);
  }
}

void Optimizer::end_pass() {
  send_from(0);
  unsent_ = buckets_.size();
}

void Optimizer::send(Bucket& bucket) {
  const int64_t ranks = group().size();
  for (const size_t i : bucket.entries) open(i);
  const OptimizerEntry& first = entries_[bucket.entries.front()];
  bucket.sending = first.padded;
  if (bucket.entries.size() > 1 || first.padded.scalar_type() != at::kFloat) {
    const Tensor sent = at::empty({ranks, bucket.stride}, bucket.gradient.options());
    int64_t at = 0;
    for (const size_t i : bucket.entries) {
      const int64_t stride = entries_[i].shard.stride;
      sent.narrow(1, at, stride).copy_(entries_[i].padded.view({ranks, stride}));
      release_memory(entries_[i].padded);
      at += stride;
    }
    bucket.sending = sent.view({-1});
  }
  for (const size_t i : bucket.entries) entries_[i].sent = true;
  bucket.received = at::empty_like(bucket.gradient);
  bucket.pending = group().reduce_scatter(bucket.received, bucket.sending);
}

void Optimizer::receive() {
  const at::NoGradGuard no_grad;
  for (const size_t number : std::exchange(under_way_, {})) {
    Bucket& bucket = buckets_[number];
    if (!bucket.pending) continue;  // it could not be sent
    std::exchange(bucket.pending, {})();
    bucket.gradient.add_(bucket.received);
    bucket.sending = bucket.received = Tensor();
    for (const size_t i : bucket.entries) {
      entries_[i].sent = false;
      if (has_memory(entries_[i].padded)) release_memory(entries_[i].padded);
    }
  }
}

void Optimizer::reduce_whole(const Bucket& bucket) {
  const Tensor& like = entries_[bucket.entries.front()].gradient;
  const Tensor sent = at::empty({bucket.stride}, like.options().dtype(at::kFloat));
  const auto each = [&](const auto& use) {
    int64_t at = 0;
    for (const size_t i : bucket.entries) {
      Tensor& gradient = entries_[i].gradient;
      use(sent.narrow(0, at, gradient.numel()).view(gradient.sizes()), gradient);
      at += gradient.numel();
    }
  };
  each([](Tensor part, Tensor& gradient) { part.copy_(gradient); });
  group().all_reduce(sent)();
  each([](const Tensor& part, Tensor& gradient) { gradient.copy_(part); });
}

// One bucket is sent while the previous one is copied to its weights.
void Optimizer::gather_weights() {
  if (!sharded() || !distribution_.own_weights.empty()) return;
  std::optional<Gathering> before;
  for (const Bucket& bucket : buckets_) {
    Gathering next = begin_gathering(bucket);
    if (before) end_gathering(*before);
    before = std::move(next);
  }
  if (before) end_gathering(*before);
}

Optimizer::Gathering Optimizer::begin_gathering(const Bucket& bucket) {
  const Tensor& like = entries_[bucket.entries.front()].weight;
  Gathering gathering{&bucket,
                      at::zeros({bucket.stride}, like.options()),
                      at::empty({group().size(), bucket.stride}, like.options()),
                      {}};
  int64_t at = 0;
  for (const size_t i : bucket.entries) {
    const OptimizerEntry& entry = entries_[i];
    gathering.own.narrow(0, at, entry.shard.size()).copy_(entry.weight);
    at += entry.shard.stride;
  }
  gathering.pending = group().all_gather(gathering.all.view({-1}), gathering.own);
  return gathering;
}

void Optimizer::end_gathering(const Gathering& gathering) {
  gathering.pending();
  int64_t at = 0;
  for (const size_t i : gathering.bucket->entries) {
    const OptimizerEntry& entry = entries_[i];
    const int64_t n = entry.parameter.numel();
    const Tensor whole =
        gathering.all.narrow(1, at, entry.shard.stride).reshape({-1}).narrow(0, 0, n);
    Tensor(entry.parameter).view({-1}).copy_(whole);
    at += entry.shard.stride;
  }
}

Tensor Optimizer::whole(const OptimizerEntry& entry, const Tensor& own,
                        at::IntArrayRef shape) const {
  if (!sharded()) return own.cpu();
  const Tensor mine = at::zeros({entry.shard.stride}, own.options());
  mine.narrow(0, 0, own.numel()).copy_(own.view({-1}));
  const Tensor all = at::empty({group().size() * entry.shard.stride}, own.options());
  group().all_gather(all.view(at::kByte), mine.view(at::kByte))();
  return all.cpu().narrow(0, 0, c10::multiply_integers(shape)).view(shape);
}

}  // namespace cream
