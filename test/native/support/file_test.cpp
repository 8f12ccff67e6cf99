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
