// See the header for what this is for.

#include "bundle/posix_io.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"

namespace autodist {

absl::Status PosixError(absl::string_view what, const std::string& path, int error) {
  return absl::ErrnoToStatus(error, absl::StrCat(what, " ", path));
}

absl::StatusOr<PosixFile> PosixFile::Create(const std::string& path) {
  int descriptor;
  do {
    descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (descriptor < 0 && errno == EINTR);
  if (descriptor < 0) return PosixError("cannot create", path, errno);
  return PosixFile(path, descriptor);
}

PosixFile::PosixFile(std::string path, int descriptor)
    : path_(std::move(path)), descriptor_(descriptor) {}

PosixFile::PosixFile(PosixFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

PosixFile::~PosixFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

absl::Status PosixFile::WriteAt(int64_t offset, absl::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(descriptor_, bytes.data(), bytes.size(), offset);
    if (written < 0) {
      if (errno == EINTR) continue;
      return PosixError(
          absl::StrCat("cannot write ", bytes.size(), " bytes at offset ", offset, " of"), path_,
          errno);
    }
    bytes.remove_prefix(written);
    offset += written;
  }
  return absl::OkStatus();
}

absl::Status PosixFile::Reserve(int64_t size_bytes) const {
  struct statfs file_system;
  // tmpfs fills reserved pages with zeros first: a second pass over memory.
  if (size_bytes == 0 || fstatfs(descriptor_, &file_system) != 0 ||
      file_system.f_type == TMPFS_MAGIC || file_system.f_type == RAMFS_MAGIC) {
    return absl::OkStatus();
  }
  int result;
  do {
    result = fallocate(descriptor_, 0, 0, size_bytes);
  } while (result != 0 && errno == EINTR);
  if (result != 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)) {
    return PosixError(absl::StrCat("cannot reserve ", size_bytes, " bytes for"), path_, errno);
  }
  return absl::OkStatus();
}

absl::Status PosixFile::Sync() const {
  int result;
  do {
    result = fsync(descriptor_);
  } while (result != 0 && errno == EINTR);
  if (result != 0) return PosixError("cannot sync", path_, errno);
  return absl::OkStatus();
}

absl::Status RenamePath(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) != 0) {
    return PosixError(absl::StrCat("cannot rename ", from, " to"), to, errno);
  }
  return absl::OkStatus();
}

absl::Status SyncDirectory(const std::string& directory) {
  const std::string path = directory.empty() ? "." : directory;
  const int descriptor = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return PosixError("cannot open directory", path, errno);
  int result;
  do {
    result = fsync(descriptor);
  } while (result != 0 && errno == EINTR);
  const int error = errno;
  close(descriptor);
  // EINVAL: a file system whose directories cannot be synced.
  if (result != 0 && error != EINVAL) {
    return PosixError("cannot sync directory", path, error);
  }
  return absl::OkStatus();
}

}  // namespace autodist
