#include "support/file.h"

#include <cerrno>
#include <filesystem>

#include "check.h"
#include "model_files.h"

using namespace cream;
using namespace model_files;

CHECK_CASE("support: a file is replaced whole or not at all") {
  const TemporaryFolder folder;
  const std::string path = folder.file("x");
  write_file_atomic(path, "old");
  {
    AtomicFile file(path);
    file.write("new", 3);
  }  // destroyed without commit(), as in a crash
  CHECK(read_file(path, 10) == "old");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
  write_file_atomic(path, "new");
  CHECK(read_file(path, 10) == "new");
  CHECK_THROWS(not_found, "no such file or folder",
               write_file_atomic(folder.file("missing/x"), ""));
  CHECK_THROWS(invalid_file, "has 3 bytes", read_file(path, 2));
  CHECK_THROWS(invalid_file, "not a regular file", read_file(folder.path(), 2));
  const Error full = io_error("Could not write", path, ENOSPC);
  CHECK(full.code() == ErrorCode::io &&
        std::string(full.what()).find("the disk is full. Free some space") != std::string::npos);
}

namespace {

// Adds up the bytes, and notes how many there were.
class Sum : public Digest {
 public:
  void update(const void* data, size_t size) override {
    for (size_t i = 0; i < size; ++i) sum_ += static_cast<const unsigned char*>(data)[i];
    count_ += size;
  }
  std::string hex() override { return std::to_string(count_) + " " + std::to_string(sum_); }

 private:
  size_t count_ = 0, sum_ = 0;
};

}  // namespace

CHECK_CASE("support: a digest has all bytes of a file in their order, in small and large writes") {
  const TemporaryFolder folder;
  const std::string large(size_t{3} << 20, '\2');
  AtomicFile file(folder.file("x"), std::make_unique<Sum>());
  file.write("\1\1", 2);
  file.write(large.data(), large.size());
  file.write("\3", 1);
  CHECK(file.bytes() == large.size() + 3);
  CHECK(file.sha256() ==
        std::to_string(large.size() + 3) + " " + std::to_string(2 * large.size() + 5));
  file.commit();
  CHECK(read_file(folder.file("x"), size_t{4} << 20) == "\1\1" + large + "\3");
  AtomicFile without(folder.file("y"));
  without.write("a", 1);
  CHECK(without.sha256().empty());
}
