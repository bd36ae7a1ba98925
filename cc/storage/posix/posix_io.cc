// The few POSIX calls a save needs, as functions that return typed statuses.

#include "storage/posix/posix_io.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/printable.h"
#include "storage/final_status.h"

namespace autodist {
namespace {

// What the client of a save of several tasks looks for (saver_session.py).
constexpr absl::string_view kInOrderOnly = " (its file system may take bytes in order only)";

// Whether a file system that writes in order only may say so by this.
bool IsRefusal(int error) {
  return error == EOPNOTSUPP || error == ENOTSUP || error == EINVAL || error == ESPIPE ||
         error == ENOSYS || error == EPERM;
}

// Whether an error of fsync says that the file system has none for this kind of file.
bool HasNoSync(int descriptor, int error) {
  if (error == EINVAL || error == ENOSYS || error == EOPNOTSUPP) return true;
  struct stat status;
  if (fstat(descriptor, &status) != 0 || !S_ISDIR(status.st_mode)) return false;
  if (error == EROFS) {
    // A file system that became read-only after an error says so too, and has lost what it had.
    struct statvfs file_system;
    return fstatvfs(descriptor, &file_system) == 0 && (file_system.f_flag & ST_RDONLY) == 0;
  }
  return error == EBADF || error == EACCES || error == EPERM || error == EISDIR ||
         error == ENOTTY || error == ESPIPE;
}

}  // namespace

absl::Status PosixError(absl::string_view what, const std::string& path, int error) {
  const absl::Status status = absl::ErrnoToStatus(error, absl::StrCat(what, " ", Printable(path)));
  return absl::Status(CodeOfErrno(error), status.message());
}

Descriptor::Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(number_, other.number_);
  return *this;
}

Descriptor::~Descriptor() {
  if (number_ >= 0) close(number_);
}

namespace {

// Opens again where a signal came between.
UninheritedDescriptor OpenFile(int directory, const std::string& path, int flags) {
  return UninheritedDescriptor([&] {
    return Uninterrupted([&] { return openat(directory, path.c_str(), flags | O_CLOEXEC, 0666); });
  });
}

}  // namespace

absl::StatusOr<PosixFile> PosixFile::Create(int directory, const std::string& name,
                                            const std::string& path) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL;
  UninheritedDescriptor descriptor = OpenFile(directory, name, kFlags);
  int error = errno;
  if (descriptor.get() < 0 && HasSpaceNow(error)) {
    descriptor = OpenFile(directory, name, kFlags);
    error = errno;
  }
  if (descriptor.get() < 0) return PosixError("cannot create", path, error);
  return PosixFile(path, std::move(descriptor));
}

absl::StatusOr<PosixFile> PosixFile::OpenForWriting(const std::string& path) {
  UninheritedDescriptor descriptor = OpenFile(AT_FDCWD, path, O_WRONLY | O_NOFOLLOW);
  if (descriptor.get() < 0) return PosixError("cannot open", path, errno);
  return PosixFile(path, std::move(descriptor));
}

PosixFile::PosixFile(std::string path, UninheritedDescriptor descriptor)
    : path_(std::move(path)), descriptor_(std::move(descriptor)) {}

bool PosixFile::Lock() const {
  return Uninterrupted([this] { return flock(descriptor_.get(), LOCK_EX); }) == 0;
}

absl::Status InOrderOnly(absl::string_view message) {
  return absl::UnimplementedError(absl::StrCat(message, kInOrderOnly));
}

absl::Status PosixFile::WriteAt(int64_t offset, absl::string_view bytes, bool* refused) const {
  while (!bytes.empty()) {
    const ssize_t written =
        WithSpace([&] { return pwrite(descriptor_.get(), bytes.data(), bytes.size(), offset); });
    if (written < 0) {
      const int error = errno;
      absl::Status status = PosixError(
          absl::StrCat("cannot write ", bytes.size(), " bytes at offset ", offset, " of"), path_,
          error);
      if (offset == 0 || !IsRefusal(error)) return status;
      if (refused != nullptr) *refused = true;
      return InOrderOnly(status.message());
    }
    bytes.remove_prefix(written);
    offset += written;
  }
  return absl::OkStatus();
}

absl::Status PosixFile::Append(absl::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t written =
        WithSpace([&] { return write(descriptor_.get(), bytes.data(), bytes.size()); });
    if (written < 0) {
      return PosixError(absl::StrCat("cannot append ", bytes.size(), " bytes to"), path_, errno);
    }
    bytes.remove_prefix(written);
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
  const int result = WithSpace([&] { return fallocate(descriptor_.get(), 0, 0, size_bytes); });
  if (result != 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)) {
    return PosixError(absl::StrCat("cannot reserve ", size_bytes, " bytes for"), path_, errno);
  }
  return absl::OkStatus();
}

bool PosixFile::WritesDirectly(int64_t size_bytes) const {
  // For less, the blocks that are on their way at the end take as long as they save.
  constexpr int64_t kLeastBytes = 64 << 20;
  const char* const setting = std::getenv("AUTODIST_DIRECT_WRITES");
  const absl::string_view wanted = setting == nullptr ? "" : setting;
  if (wanted == "always") return size_bytes > 0;
  struct statfs file_system;
  return wanted != "never" && size_bytes >= kLeastBytes &&
         fstatfs(descriptor_.get(), &file_system) == 0 && file_system.f_type == EXT4_SUPER_MAGIC;
}

absl::Status PosixFile::Sync() const { return SyncDescriptor(descriptor_.get(), path_); }

absl::Status PosixFile::Finish() const {
  // Closing any descriptor of a file flushes it; the lock stays with the other.
  UninheritedDescriptor second([this] { return fcntl(descriptor_.get(), F_DUPFD_CLOEXEC, 0); });
  if (second.get() < 0 || second.Close() != 0) return PosixError("cannot close", path_, errno);
  return absl::OkStatus();
}

absl::Status SyncDescriptor(int descriptor, const std::string& path) {
  const int result = Uninterrupted([=] { return fsync(descriptor); });
  const int error = errno;
  if (result == 0 || HasNoSync(descriptor, error)) return absl::OkStatus();
  return PosixError("cannot sync", path, error);
}

Descriptor OpenDirectory(int parent, const std::string& path) {
  const auto open_with = [&](int flags) {
    return Uninterrupted(
        [&] { return openat(parent, path.c_str(), flags | O_DIRECTORY | O_CLOEXEC); });
  };
  const int readable = open_with(O_RDONLY);
  return Descriptor(readable < 0 && errno == EACCES ? open_with(O_PATH) : readable);
}

BlockedSignal::BlockedSignal(int number) : number_(number) {
  sigset_t signals, before;
  sigemptyset(&signals);
  sigaddset(&signals, number_);
  pthread_sigmask(SIG_BLOCK, &signals, &before);
  was_blocked_ = sigismember(&before, number_) == 1;
}

BlockedSignal::~BlockedSignal() {
  if (was_blocked_) return;
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, number_);
  // One that came meanwhile would be delivered when it is let through.
  const timespec now = {0, 0};
  while (sigtimedwait(&signals, nullptr, &now) < 0 && errno == EINTR) {
  }
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

}  // namespace autodist
