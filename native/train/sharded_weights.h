// A model's weights sharded over the ranks of its training (the third stage of ZeRO, Rajbhandari et
// al. 2020, arXiv:1910.02054). A rank keeps its shard of every parameter. The whole weights of a
// layer have memory only while the layer is computed; meanwhile those of the next one are gathered.
#pragma once

#include <cstddef>
#include <vector>

#include "model/transformer.h"
#include "parallel/group.h"

namespace cream {

// The parts of a pass, in order: the embedding, each layer, the head with the final norm, and each
// layer again from the last to the first.
class PassParts {
 public:
  explicit PassParts(int64_t layers) : layers_(static_cast<size_t>(layers)) {}
  size_t count() const { return 2 * layers_ + 2; }
  size_t units() const { return layers_ + 2; }
  size_t head() const { return layers_ + 1; }
  // The unit of weights that a part needs: 0 the embedding, i + 1 layer i, head() the head.
  size_t unit(size_t part) const { return part <= head() ? part : count() - part; }

 private:
  size_t layers_;
};

class ShardedWeights {
 public:
  // Takes the memory of the weights of `model`, which must have no other holder. Both outlive this.
  ShardedWeights(Transformer& model, Group& group);

  // This rank's elements of each parameter, flat [shard_of(parameter).size()], in the order of
  // Weights::parameters(). The optimizer writes to them between two passes.
  std::vector<Tensor> own() const;
  // Keeps the packed copies of `weights`, which shares the model's storage, equal to the model's.
  void share(Weights& weights);

  // --- All ranks make these calls in one order ---
  // The next part of a pass begins: the weights of the part before are freed, those of this part
  // have memory, and those of the part after it are being gathered.
  void next();
  // After the last part of a pass.
  void end_pass();
  // All weights have memory until the next pass or release(), so that the model can be used.
  void gather();

  void release();
  bool whole() const { return whole_; }

 private:
  struct Parameter {
    Tensor whole;  // flat, the shards of all ranks: the storage of the model's tensor
    Tensor shard;  // [stride], this rank's, padded with zeros
    Tensor own;    // the elements of `shard` that the parameter has
  };
  // Parameters that are needed together.
  struct Unit {
    std::vector<size_t> parameters;
    std::vector<std::vector<Linear*>> matrices;  // the model's, and the same of each sharer
    Group::Pending pending;
  };
  void begin(Unit& unit);
  void finish(Unit& unit);
  void release(Unit& unit);

  Group& group_;
  PassParts parts_;
  std::vector<Parameter> parameters_;
  std::vector<Unit> units_;
  size_t part_ = 0;  // parts of the present pass that have begun
  bool whole_ = false;
};

}  // namespace cream
