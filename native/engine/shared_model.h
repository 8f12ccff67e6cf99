// The tensors that an engine and its snapshots hold together, counted for as long as anyone holds
// them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "model/lora.h"
#include "model/transformer.h"

namespace cream {

// Bytes on a device that count as live while this lives.
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

// A base, which several of these may share, and an adapter of its own or none. Immutable but for
// the trainer of its only holder.
class SharedModel {
 public:
  explicit SharedModel(Transformer transformer);  // a base alone
  SharedModel(const SharedModel&) = delete;
  SharedModel& operator=(const SharedModel&) = delete;

  // The same values in storage of their own, the fast kernels' copies included; all of them, or the
  // adapter's alone.
  std::shared_ptr<SharedModel> copy() const;
  std::shared_ptr<SharedModel> copy_adapter() const;
  // The same base under another adapter, which is taken over, or under none.
  std::shared_ptr<SharedModel> with_adapter(const LoraParams& params, AdapterTensors masters) const;
  std::shared_ptr<SharedModel> without_adapter() const;

  uint64_t base_bytes() const { return base_->bytes(); }
  bool shares_base() const { return base_.use_count() > 1; }
  const std::optional<LoraParams>& lora() const { return transformer.weights().lora; }
  // fp32 values of the adapter's parameters; an fp32 model's adapter is these very tensors.
  const AdapterTensors& adapter_masters() const { return masters_; }

 private:
  SharedModel(Transformer base, std::shared_ptr<const LiveBytes> bytes);

  // Before the tensors, so that these are let go of first: whoever finds itself the base's last
  // holder may write to it.
  std::shared_ptr<const LiveBytes> base_, adapter_;

 public:
  Transformer transformer;

 private:
  AdapterTensors masters_;
};

// Bytes of the parameters of all that live, there or anywhere, a tied head counted once, an
// adapter's fp32 values with it.
uint64_t live_weight_bytes(at::Device device);
uint64_t live_weight_bytes();

// Whether the checkpoint holds values that bfloat16 would round: any weight stored as something
// else.
bool finer_than_bfloat16(const std::string& path);

}  // namespace cream
