// The process groups of c10d that this build has.
#pragma once

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <chrono>
#include <string>
#include <vector>

#include "parallel/environment.h"

namespace cream {

using StorePtr = c10::intrusive_ptr<c10d::Store>;
using BackendPtr = c10::intrusive_ptr<c10d::Backend>;

// Null in a build without it.
BackendPtr make_gloo(const StorePtr& store, const RankEnvironment& place,
                     std::chrono::milliseconds timeout);  // for tensors of the CPU
BackendPtr make_nccl(const StorePtr& store, const RankEnvironment& place,
                     std::chrono::milliseconds timeout);  // for tensors of the current GPU

// A value of the store.
inline std::string text_of(const std::vector<uint8_t>& bytes) {
  return {bytes.begin(), bytes.end()};
}

}  // namespace cream
