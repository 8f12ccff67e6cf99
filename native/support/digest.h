// The SHA-256 of bytes while they are written, and what a save says about its files. The engine
// itself has no SHA-256: the binding passes OpenSSL's, which Node exports.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace cream {

class Digest {
 public:
  virtual ~Digest() = default;
  virtual void update(const void* data, size_t size) = 0;
  virtual std::string hex() = 0;  // of all bytes so far; no update() after it
};

using MakeDigest = std::function<std::unique_ptr<Digest>()>;  // empty: none is computed

struct SavedFile {
  std::string name;  // in the folder
  uint64_t bytes = 0;
  std::string sha256;  // hexadecimal; empty where none was computed
};

}  // namespace cream
