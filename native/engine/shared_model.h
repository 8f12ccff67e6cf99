// The tensors that an engine shares with its snapshots. Their bytes are counted as live while any
// holder exists.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/lora.h"
#include "model/transformer.h"

namespace cream {

// Adds `bytes` to a device's live bytes for its own lifetime.
class LiveBytes {
 public:
  LiveBytes(uint64_t bytes, at::Device device);
  ~LiveBytes();
  uint64_t bytes() const { return bytes_; }
  LiveBytes(const LiveBytes&) = delete;
  LiveBytes& operator=(const LiveBytes&) = delete;

 private:
  uint64_t bytes_;
  at::Device device_;
};

// A base model, which several SharedModels may share, and optionally an adapter of its own. Only
// the trainer of its sole holder may change it.
class SharedModel {
 public:
  explicit SharedModel(Transformer transformer);  // a base alone
  SharedModel(const SharedModel&) = delete;
  SharedModel& operator=(const SharedModel&) = delete;

  // Deep copies, packed weights included: copy() of base and adapter, copy_adapter() of the adapter
  // over the shared base.
  std::shared_ptr<SharedModel> copy() const;
  std::shared_ptr<SharedModel> copy_adapter() const;
  // This base with another adapter, whose tensors are moved from `masters`, or with none.
  std::shared_ptr<SharedModel> with_adapter(const LoraParams& params, AdapterTensors masters) const;
  std::shared_ptr<SharedModel> without_adapter() const;

  // Moves the weights to the host's memory, so that other models have the device's, and back; each
  // does nothing where that is done. Only for the sole holder of a model without an adapter whose
  // weights are on a device. offload() returns whether it moved them.
  bool offload();
  void restore();
  bool offloaded() const { return offloaded_; }
  // Call it before the weights change: offload() keeps its copy for the next time.
  void forget_host_copy() { host_.clear(); }

  uint64_t base_bytes() const { return base_->bytes(); }
  bool shares_base() const { return base_.use_count() > 1; }
  const std::optional<LoraParams>& lora() const { return transformer.weights().lora; }
  // fp32 values of the adapter's parameters; they share storage with the adapter of an fp32 model.
  const AdapterTensors& adapter_masters() const { return masters_; }

 private:
  SharedModel(Transformer base, std::shared_ptr<const LiveBytes> bytes);

  // Declared before the tensors, so that the tensors are released first: the last holder of the
  // base may write to it.
  std::shared_ptr<const LiveBytes> base_, adapter_;

 public:
  Transformer transformer;

 private:
  AdapterTensors masters_;
  std::vector<Tensor> host_;  // the weights, in the order of Weights::parameters(); may be empty
  bool offloaded_ = false;
};

// Bytes of the parameters of all live models, on one device or in total. A tied head is counted
// once; an adapter's fp32 values are included.
uint64_t live_weight_bytes(at::Device device);
uint64_t live_weight_bytes();

// The numbers that a checkpoint contains.
uint64_t stored_numbers(const std::string& path);

// Whether the checkpoint stores any weight in a dtype other than bfloat16.
bool finer_than_bfloat16(const std::string& path);

}  // namespace cream
