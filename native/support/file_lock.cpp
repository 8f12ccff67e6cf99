#include "support/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace cream {

namespace {

// Whether `path` still names the file behind `descriptor`: its last holder may have removed it
// between our open() and our flock().
bool is_current(const std::string& path, int descriptor) {
  struct stat named{}, opened{};
  return lstat(path.c_str(), &named) == 0 && fstat(descriptor, &opened) == 0 &&
         named.st_dev == opened.st_dev && named.st_ino == opened.st_ino;
}

// O_NONBLOCK: a pipe must not block the call. O_NOFOLLOW: a link is refused, never written through.
FileDescriptor open_regular(const std::string& path) {
  constexpr int kFlags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  FileDescriptor file(open(path.c_str(), kFlags, 0644));
  struct stat status{};
  const bool opened = file.get() >= 0 && fstat(file.get(), &status) == 0;
  if ((opened && !S_ISREG(status.st_mode)) || (!opened && (errno == EISDIR || errno == ELOOP)))
    throw Error(ErrorCode::io, path + " is not a regular file, so it cannot be locked; remove it.");
  if (!opened) throw io_error("Could not lock", path, errno);
  return file;
}

}  // namespace

std::optional<FileDescriptor> lock_file(const std::string& path, const std::string& contents) {
  for (;;) {
    FileDescriptor file = open_regular(path);
    if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return std::nullopt;
      if (errno == EINTR) continue;
      throw io_error("Could not lock", path, errno);
    }
    if (!is_current(path, file.get())) continue;
    const auto size = static_cast<ssize_t>(contents.size());
    if (ftruncate(file.get(), 0) != 0 || pwrite(file.get(), contents.data(), size, 0) != size)
      throw io_error("Could not write", path, errno);
    return file;
  }
}

void unlock_file(const std::string& path, FileDescriptor lock) {
  if (is_current(path, lock.get())) unlink(path.c_str());
}

}  // namespace cream
