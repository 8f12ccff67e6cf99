// Collective operations of the processes ("ranks") that compute one run together. A rank calls them
// in the same order as all others, from one thread at a time.
#pragma once

#include <functional>
#include <vector>

#include "support/torch.h"

namespace cream {

class Group {
 public:
  virtual ~Group() = default;
  virtual int rank() const = 0;  // 0 … size − 1
  virtual int size() const = 0;
  // Whether nothing has to be sent. A group of c10d sends even if it has one rank.
  virtual bool single() const { return size() == 1; }

  // Waits for an operation that has begun, once; its tensors must stay as they are until then.
  // Throws Error{io} where a rank was lost or the time-out passed.
  using Pending = std::function<void()>;

  // All tensors are contiguous, of one dtype and one device. Sums are added in an order that
  // depends on the number of ranks only, and every rank receives the same bits. tensor [n] ← Σ over
  // ranks; fp32 or fp64.
  virtual Pending all_reduce(Tensor tensor) = 0;
  // shard [n] ← the own n elements of Σ over ranks of whole [size · n]; fp32.
  virtual Pending reduce_scatter(Tensor shard, Tensor whole) = 0;
  // whole [size · n] ← the shards [n] of all ranks, in their order.
  virtual Pending all_gather(Tensor whole, Tensor shard) = 0;
  // all_gather() of each pair of tensors, in one operation; the lists may be empty.
  virtual Pending all_gather(std::vector<Tensor> wholes, std::vector<Tensor> shards) = 0;
};

// The group of a single process.
Group& single_group();

// The elements of a flat tensor [n] that each rank owns: equal shards of whole blocks, of which the
// last ones may be short or empty.
struct Shard {
  int64_t begin = 0, end = 0;
  int64_t stride = 0;  // elements of a whole shard; rank r begins at r · stride, or at n
  int64_t size() const { return end - begin; }
};
Shard shard_of(int64_t n, int64_t block, int rank, int ranks);

}  // namespace cream
