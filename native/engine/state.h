// The tensors of an engine and the operations that change them, on its worker. Two invariants about
// weights:
// - Sharing: a snapshot and its origin hold the same tensors. An engine that trains while others
//   hold them copies them first, or only its adapter where it has one: a LoRA base is never
//   written.
// - Masters: a bf16 model trains from its full-precision values, not from the rounded ones. They
//   are in memory after a training that kept them, else in its checkpoint.
#pragma once

#include <future>

#include "engine/engine.h"
#include "engine/fit.h"
#include "engine/shared_model.h"
#include "generate/generator.h"
#include "parallel/ranks.h"
#include "train/trainer.h"
#include "weights/load.h"

namespace cream {

// The state that a snapshot takes from its origin.
struct Shared {
  std::shared_ptr<SharedModel> model;
  std::string masters_source;
  std::shared_ptr<const NamedTensors> kept_masters;
};

struct Engine::State {
  std::shared_ptr<SharedModel> model;
  // The checkpoint that the compute weights were rounded from; empty where they are exact.
  std::string masters_source;
  // The fp32 values of the weights, on the host; null where there are none. A trainer on the CPU
  // writes to these tensors if nobody shares them.
  std::shared_ptr<const NamedTensors> kept_masters;
  std::shared_ptr<Ranks> ranks;  // those of the trainer, which they outlive
  std::unique_ptr<Trainer> trainer;
  std::unique_ptr<Generator> generator;  // while requests are in progress
  uint64_t decode_steps = 0;             // since the model was loaded
  uint64_t trainer_number = 0;           // of the live or the last trainer
  std::future<Shared> origin;  // valid for a snapshot that has not received its weights yet

  at::Device device() const { return model ? model->transformer.device() : at::Device(at::kCPU); }
  // The model; a snapshot first waits for its weights.
  Transformer& loaded();
  // loaded(), for work that reads the weights: a trainer may have sharded them.
  Transformer& ready();
  // ready(), for work that needs a causal language model.
  Transformer& causal(const char* who);
  // The model for writing, copied first where it is shared.
  Transformer& own();
  Trainer& live(uint64_t number);
  Shared share(bool adapter);
  // Moves the weights from the device to the host's memory, unless they are in use or shared.
  bool leave(at::Device from);
  void require_adapter(const char* who);
  void require_no_trainer(const char* who);
  NamedTensors masters(const Cancel& cancel = Cancel());
  NamedTensors base_masters(const Cancel& cancel = Cancel());
  NamedTensors to_save(at::ScalarType dtype);
  Place place() {
    return {*model, trainer ? trainer->bytes() : 0, ranks ? ranks->group().size() : 1, &turn};
  }
  // Called after the trainer has written: full weights differ from the checkpoint now.
  void changed() {
    if (!model->lora()) forget_masters();
  }
  void forget_masters() { masters_source.clear(), kept_masters.reset(); }

  // Last member: other models reach the others through it.
  Turn turn{[this](at::Device from) { return leave(from); }};
};

}  // namespace cream
