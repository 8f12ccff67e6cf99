// The tensors that an engine and its snapshots hold together, counted for as long as anyone holds them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "model/transformer.h"

namespace cream {

struct SharedModel {
  explicit SharedModel(Transformer transformer);
  ~SharedModel();
  SharedModel(const SharedModel&) = delete;
  SharedModel& operator=(const SharedModel&) = delete;

  // The same values in storage of their own, the fast kernels' copies included.
  std::shared_ptr<SharedModel> copy() const;

  Transformer transformer;

 private:
  uint64_t bytes_;
};

// Bytes of the parameters of all that live, a tied head counted once.
uint64_t live_weight_bytes();

// Whether the checkpoint holds values that bfloat16 would round: any weight stored as something else.
bool finer_than_bfloat16(const std::string& path);

}  // namespace cream
