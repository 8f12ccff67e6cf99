// An exclusive lock between processes that the system releases when its holder ends, however it
// ends: flock(2) on a regular file. It depends on no host name, process id or clock.
#pragma once

#include <optional>
#include <string>

#include "support/file.h"

namespace cream {

// Creates and locks `path` and writes `contents` into it, for people and for `held_by`. Empty where
// another holder has the lock. Throws Error{io} where `path` is no regular file or cannot be made.
std::optional<FileDescriptor> lock_file(const std::string& path, const std::string& contents);

// Removes `path` and releases the lock, in this order: a new holder never sees it removed.
void unlock_file(const std::string& path, FileDescriptor lock);

}  // namespace cream
