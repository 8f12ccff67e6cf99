#include "support/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <future>
#include <system_error>

namespace cream {

FileDescriptor::~FileDescriptor() {
  if (value_ >= 0) ::close(value_);
}

Error io_error(const std::string& verb_phrase, const std::string& path, int error_number) {
  const std::string what = verb_phrase + " " + path + ": ";
  switch (error_number) {
    case ENOENT:
      return Error(ErrorCode::not_found, what + "there is no such file or folder. Check the path.");
    case ENOSPC:
    case EDQUOT:
      return Error(ErrorCode::io, what +
                                      "the disk is full. Free some space or choose another folder; "
                                      "the file that was there before is unchanged.");
    case EACCES:
    case EPERM:
    case EROFS:
      return Error(ErrorCode::io, what + std::strerror(error_number) +
                                      ". Check the permissions of the file and its folder.");
    case ENOMEM:
      return Error(
          ErrorCode::out_of_memory,
          what + "the system is out of memory. Close other programs or use a smaller model.");
    default:
      return Error(ErrorCode::io, what + std::strerror(error_number) + ".");
  }
}

FileDescriptor open_for_reading(const std::string& path, size_t& size) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) throw io_error("Could not open", path, errno);
  struct stat status;
  if (::fstat(file.get(), &status) != 0) throw io_error("Could not read", path, errno);
  if (!S_ISREG(status.st_mode))
    throw Error(ErrorCode::invalid_file, path + " is not a regular file. Name a file.");
  size = static_cast<size_t>(status.st_size);
  return file;
}

std::string read_file(const std::string& path, size_t max_bytes) {
  size_t size = 0;
  const FileDescriptor file = open_for_reading(path, size);
  if (size > max_bytes)
    throw Error(ErrorCode::invalid_file,
                path + " has " + std::to_string(size) + " bytes; such a file has at most " +
                    std::to_string(max_bytes) + ". Check that it is the right file.");
  std::string bytes(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t got = ::read(file.get(), bytes.data() + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw io_error("Could not read", path, errno);
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  bytes.resize(done);
  return bytes;
}

bool file_exists(const std::string& path) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0;
}

bool is_directory(const std::string& path) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

void remove_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    throw io_error("Could not remove", path, errno);
}

AtomicFile::AtomicFile(const std::string& path, std::unique_ptr<Digest> digest)
    : path_(path), digest_(std::move(digest)) {
  static std::atomic<uint32_t> counter{0};
  const size_t slash = path.rfind('/');
  folder_ = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  // Unique among processes and threads; O_EXCL skips a leftover of a crashed process with our id.
  for (int attempt = 0; attempt < 100 && file_ < 0; ++attempt) {
    temporary_ = folder_ + "/." + name + "." + std::to_string(::getpid()) + "." +
                 std::to_string(counter++) + ".tmp";
    file_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file_ < 0 && errno != EEXIST) break;
  }
  if (file_ < 0) throw io_error("Could not create", path, errno);
}

AtomicFile::~AtomicFile() {
  if (file_ >= 0) ::close(file_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

// A disk that writes 50 MB/s takes little more than a second for these, and twice as long for what
// commit() waits for.
static constexpr size_t kSyncBytes = size_t{64} << 20;

// Fewer bytes are hashed sooner than a thread is started.
static constexpr size_t kThreadBytes = size_t{1} << 20;

void AtomicFile::write(const void* data, size_t size) {
  std::future<void> hashing;
  if (digest_) {
    const auto hash = [this, data, size] { digest_->update(data, size); };
    try {
      if (size >= kThreadBytes) hashing = std::async(std::launch::async, hash);
    } catch (const std::system_error&) {  // no thread is left
    }
    if (!hashing.valid()) hash();
  }
  write_all(static_cast<const char*>(data), size);
  if (hashing.valid()) hashing.get();
}

void AtomicFile::write_all(const char* at, size_t size) {
  bytes_ += size;
  while (size > 0) {
    const ssize_t written = ::write(file_, at, std::min(size, size_t{1} << 30));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw io_error("Could not write", path_, errno);
    at += written;
    size -= static_cast<size_t>(written);
  }
  if (bytes_ - begun_ < kSyncBytes) return;
  if (!begin_sync()) throw io_error("Could not write", path_, errno);
  begun_ = bytes_;
}

// Waits until the bytes of the last call are on the disk, and has the disk begin with those since.
bool AtomicFile::begin_sync() {
#ifdef __linux__
  constexpr unsigned wait =
      SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  const auto from = static_cast<off64_t>(begun_), until = static_cast<off64_t>(bytes_);
  if ((from == 0 || ::sync_file_range(file_, 0, from, wait) == 0) &&
      ::sync_file_range(file_, from, until - from, SYNC_FILE_RANGE_WRITE) == 0)
    return true;
  if (errno != ENOSYS && errno != EINVAL && errno != ESPIPE) return false;
#endif
  return ::fdatasync(file_) == 0;
}

void AtomicFile::commit() {
  if (::fsync(file_) != 0) throw io_error("Could not write", path_, errno);
  const int file = file_;
  file_ = -1;
  if (::close(file) != 0) throw io_error("Could not write", path_, errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0)
    throw io_error("Could not replace", path_, errno);
  temporary_.clear();
  const FileDescriptor folder(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Some file systems do not support fsync on a folder (EINVAL).
  if (folder.get() < 0 || (::fsync(folder.get()) != 0 && errno != EINVAL))
    throw io_error("Could not make durable", path_, errno);
}

void write_file_atomic(const std::string& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes.data(), bytes.size());
  file.commit();
}

}  // namespace cream
