// A temporary directory for files that TensorFlow writes, before they are renamed.

#include "storage/posix/scratch_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/temporary_name.h"

namespace autodist {
namespace {

constexpr int kOpenFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
// Deeper than any saver's files lie.
constexpr int kMostLevels = 4;
// More often than savers that clean up can come upon one directory before it is locked.
constexpr int kNameAttempts = 100;

// Removes what is in a directory, whose descriptor it closes. Links are removed and not followed.
void RemoveContents(int descriptor, int levels) {
  DIR* const stream = descriptor < 0 ? nullptr : fdopendir(descriptor);
  if (stream == nullptr) {
    if (descriptor >= 0) close(descriptor);
    return;
  }
  while (const dirent* entry = readdir(stream)) {
    const char* name = entry->d_name;
    if (std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0) continue;
    if (unlinkat(descriptor, name, 0) == 0 || errno != EISDIR || levels == 0) continue;
    RemoveContents(openat(descriptor, name, kOpenFlags), levels - 1);
    unlinkat(descriptor, name, AT_REMOVEDIR);
  }
  closedir(stream);
}

}  // namespace

absl::Status ScratchDirectory::Create(const std::string& parent, const std::string& name) {
  parent_ = OpenDirectory(AT_FDCWD, parent);
  if (parent_.get() < 0) return PosixError("cannot open directory", parent, errno);
  for (int attempt = 0; attempt < kNameAttempts; ++attempt) {
    absl::StatusOr<bool> made = TryCreate(parent, TemporaryName(name));
    if (!made.ok()) return made.status();
    if (*made) return absl::OkStatus();
  }
  return PosixError("others remove every directory that is made in", parent, EAGAIN);
}

absl::StatusOr<bool> ScratchDirectory::TryCreate(const std::string& parent, std::string name) {
  const std::string path = absl::StrCat(parent, "/", name);
  if (WithSpace([&] { return mkdirat(parent_.get(), name.c_str(), 0777); }) != 0) {
    if (errno == EEXIST) return false;
    return PosixError("cannot make directory", path, errno);
  }
  name_ = std::move(name);
  const auto is_there = [&] {
    struct stat status;
    return fstatat(parent_.get(), name_.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
  };
  descriptor_ =
      UninheritedDescriptor([this] { return openat(parent_.get(), name_.c_str(), kOpenFlags); });
  if (descriptor_.get() < 0) {
    if (const int error = errno; error != ENOENT) {
      return PosixError("cannot open directory", path, error);
    }
    if (is_there()) return PosixError("cannot open directory", path, ENOENT);
    return false;
  }
  // Before the lock is held another saver may take the directory for abandoned. Where the file
  // system has no locks nobody does.
  int error;
  do {
    error = flock(descriptor_.get(), LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
  } while (error == EINTR);
  if (error != EWOULDBLOCK && is_there()) return true;
  // Who has it locked removes it. Should that one die first, a later save does.
  return false;
}

ScratchDirectory::~ScratchDirectory() {
  if (name_.empty() || !process_.is_this()) return;
  if (descriptor_.get() >= 0) RemoveContents(dup(descriptor_.get()), kMostLevels);
  unlinkat(parent_.get(), name_.c_str(), AT_REMOVEDIR);
}

void RemoveScratchIfUnlocked(int parent, const std::string& name) {
  const UninheritedDescriptor directory([&] { return openat(parent, name.c_str(), kOpenFlags); });
  if (directory.get() < 0 || flock(directory.get(), LOCK_EX | LOCK_NB) != 0) return;
  RemoveContents(dup(directory.get()), kMostLevels);
  unlinkat(parent, name.c_str(), AT_REMOVEDIR);
}

}  // namespace autodist
