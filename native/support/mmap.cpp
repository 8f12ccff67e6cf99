#include "support/mmap.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>

#include "support/error.h"
#include "support/file.h"

namespace cream {

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const FileDescriptor file = open_for_reading(path, size_);
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) throw io_error("Could not map", path, errno);
  ::madvise(address, size_, MADV_WILLNEED);  // a hint: failure is harmless
  data_ = static_cast<const uint8_t*>(address);
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<uint8_t*>(data_), size_);
}

}  // namespace cream
