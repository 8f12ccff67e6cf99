// A read-only memory-mapped file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace cream {

// Has one owner; any thread may read. The mapping survives a rename or removal of the file, but a
// truncation while it is mapped kills this process (SIGBUS). Our own writer therefore always
// renames.
class MappedFile {
 public:
  // Throws Error{not_found | io | invalid_file}; folders, pipes and devices are refused. An
  // empty file has size 0.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  std::string path_;
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace cream
