// Reads whole files, and writes files atomically: after a crash a file has its old or its new
// contents.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "support/digest.h"
#include "support/error.h"

namespace cream {

// Closes its file descriptor on destruction.
class FileDescriptor {
 public:
  explicit FileDescriptor(int value = -1) : value_(value) {}
  FileDescriptor(FileDescriptor&& other) noexcept : value_(other.value_) { other.value_ = -1; }
  FileDescriptor& operator=(FileDescriptor&&) = delete;
  ~FileDescriptor();
  int get() const { return value_; }
  int release() {
    const int value = value_;
    value_ = -1;
    return value;
  }

 private:
  int value_;
};

// "Could not <verb> <path>: <reason>." with advice by errno (disk full, permission, not found).
Error io_error(const std::string& verb_phrase, const std::string& path, int error_number);

// Opens a regular file and sets `size` in bytes; never blocks on a pipe. Throws Error{not_found |
// io | invalid_file}.
FileDescriptor open_for_reading(const std::string& path, size_t& size);

// Returns the whole file. Throws Error{invalid_file} for more than max_bytes.
std::string read_file(const std::string& path, size_t max_bytes);
bool file_exists(const std::string& path);
bool is_directory(const std::string& path);
void remove_file(const std::string& path);  // no error for a missing file

// Writes a temporary file in the folder of `path`; commit() does fsync, rename, and fsync of the
// folder. Bytes reach the disk as they are written, so that commit() does not wait for all of them.
// Without commit() the temporary is removed and `path` is unchanged. Not thread-safe.
class AtomicFile {
 public:
  // With `digest`, the SHA-256 is computed beside the writing.
  explicit AtomicFile(const std::string& path,
                      std::unique_ptr<Digest> digest = nullptr);  // Error{io}
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t size);  // Error{io}
  void commit();                              // Error{io}
  uint64_t bytes() const { return bytes_; }
  std::string sha256() const { return digest_ ? digest_->hex() : ""; }  // once, after the last byte

 private:
  void write_all(const char* at, size_t size);
  bool begin_sync();

  std::string path_;
  std::string folder_;
  std::string temporary_;
  int file_ = -1;
  uint64_t bytes_ = 0;
  uint64_t begun_ = 0;  // bytes that the disk has or is writing
  std::unique_ptr<Digest> digest_;
};

void write_file_atomic(const std::string& path, std::string_view bytes);

}  // namespace cream
