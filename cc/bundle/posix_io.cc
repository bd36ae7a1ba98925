// See the header for what this is for.

#include "bundle/posix_io.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/printable.h"

namespace autodist {

absl::Status PosixError(absl::string_view what, const std::string& path, int error) {
  return absl::ErrnoToStatus(error, absl::StrCat(what, " ", Printable(path)));
}

Descriptor::Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(number_, other.number_);
  return *this;
}

Descriptor::~Descriptor() {
  if (number_ >= 0) close(number_);
}

absl::StatusOr<PosixFile> PosixFile::Create(int directory, const std::string& name,
                                            const std::string& path) {
  int descriptor;
  do {
    descriptor = openat(directory, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (descriptor < 0 && errno == EINTR);
  if (descriptor < 0) return PosixError("cannot create", path, errno);
  return PosixFile(path, descriptor);
}

absl::StatusOr<PosixFile> PosixFile::OpenForWriting(const std::string& path) {
  int descriptor;
  do {
    descriptor = open(path.c_str(), O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
  } while (descriptor < 0 && errno == EINTR);
  if (descriptor < 0) return PosixError("cannot open", path, errno);
  return PosixFile(path, descriptor);
}

PosixFile::PosixFile(std::string path, int descriptor)
    : path_(std::move(path)), descriptor_(descriptor) {}

bool PosixFile::Lock() const {
  int result;
  do {
    result = flock(descriptor_.get(), LOCK_EX);
  } while (result != 0 && errno == EINTR);
  return result == 0;
}

absl::Status PosixFile::WriteAt(int64_t offset, absl::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(descriptor_.get(), bytes.data(), bytes.size(), offset);
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
  if (size_bytes == 0 || fstatfs(descriptor_.get(), &file_system) != 0 ||
      file_system.f_type == TMPFS_MAGIC || file_system.f_type == RAMFS_MAGIC) {
    return absl::OkStatus();
  }
  int result;
  do {
    result = fallocate(descriptor_.get(), 0, 0, size_bytes);
  } while (result != 0 && errno == EINTR);
  if (result != 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)) {
    return PosixError(absl::StrCat("cannot reserve ", size_bytes, " bytes for"), path_, errno);
  }
  return absl::OkStatus();
}

absl::Status PosixFile::Sync() const { return SyncDescriptor(descriptor_.get(), path_); }

absl::Status PosixFile::Finish() const {
  // Closing any descriptor of a file flushes it; the lock stays with the other.
  const int second = fcntl(descriptor_.get(), F_DUPFD_CLOEXEC, 0);
  if (second < 0 || close(second) != 0) return PosixError("cannot close", path_, errno);
  return absl::OkStatus();
}

absl::Status SyncDescriptor(int descriptor, const std::string& path) {
  int result;
  do {
    result = fsync(descriptor);
  } while (result != 0 && errno == EINTR);
  // EINVAL: a file system that has nothing to sync, or not its directories.
  if (result != 0 && errno != EINVAL) return PosixError("cannot sync", path, errno);
  return absl::OkStatus();
}

FileSizeErrors::FileSizeErrors() {
  sigset_t signals, before;
  sigemptyset(&signals);
  sigaddset(&signals, SIGXFSZ);
  pthread_sigmask(SIG_BLOCK, &signals, &before);
  was_blocked_ = sigismember(&before, SIGXFSZ) == 1;
}

FileSizeErrors::~FileSizeErrors() {
  if (was_blocked_) return;
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGXFSZ);
  // One that came meanwhile would be delivered when it is let through.
  const timespec now = {0, 0};
  while (sigtimedwait(&signals, nullptr, &now) < 0 && errno == EINTR) {
  }
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

}  // namespace autodist
