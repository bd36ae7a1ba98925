// See the header for what this is for.

#include "bundle/scratch_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "bundle/temporary_name.h"

namespace autodist {
namespace {

constexpr int kOpenFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
// Deeper than any saver's files lie.
constexpr int kMostLevels = 4;

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
  std::string chosen, path;
  int made;
  do {
    chosen = TemporaryName(name);
    path = absl::StrCat(parent, "/", chosen);
    made = mkdirat(parent_.get(), chosen.c_str(), 0777);
  } while (made != 0 && errno == EEXIST);
  if (made != 0) return PosixError("cannot make directory", path, errno);
  name_ = std::move(chosen);
  descriptor_ = Descriptor(openat(parent_.get(), name_.c_str(), kOpenFlags));
  if (descriptor_.get() < 0) return PosixError("cannot open directory", path, errno);
  // Before the lock is held another saver may take the directory for abandoned. Where the file
  // system has no locks nobody does.
  struct stat status;
  const bool is_contended =
      flock(descriptor_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  if (is_contended || fstatat(parent_.get(), name_.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    return PosixError("another process removed", path, EEXIST);
  }
  return absl::OkStatus();
}

ScratchDirectory::~ScratchDirectory() {
  if (name_.empty()) return;
  if (descriptor_.get() >= 0) RemoveContents(dup(descriptor_.get()), kMostLevels);
  unlinkat(parent_.get(), name_.c_str(), AT_REMOVEDIR);
}

void RemoveScratchIfUnlocked(int parent, const std::string& name) {
  const Descriptor directory(openat(parent, name.c_str(), kOpenFlags));
  if (directory.get() < 0 || flock(directory.get(), LOCK_EX | LOCK_NB) != 0) return;
  RemoveContents(dup(directory.get()), kMostLevels);
  unlinkat(parent, name.c_str(), AT_REMOVEDIR);
}

}  // namespace autodist
