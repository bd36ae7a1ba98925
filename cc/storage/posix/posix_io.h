// The few POSIX calls a save needs, as functions that return typed statuses.
//
// Interrupted calls are repeated, but not for ever, and short writes continued.
// Every error names the path and carries the text of errno; its code is that of
// final_status.h (ENOSPC: ResourceExhausted, ENOENT: NotFound, ...).

#ifndef AUTODIST_STORAGE_POSIX_POSIX_IO_H_
#define AUTODIST_STORAGE_POSIX_POSIX_IO_H_

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/posix/removed_file.h"
#include "storage/posix/uninherited_descriptor.h"

namespace autodist {

// "<what> <path>: <text of error>", typed by `error`, an errno value.
absl::Status PosixError(absl::string_view what, const std::string& path, int error);

// Repeats a system call while it is interrupted. If a file system never answers anything else,
// returns EINTR.
template <typename Call>
auto Uninterrupted(const Call& call) {
  constexpr int kMostInterruptions = 100000;
  auto result = call();
  for (int i = 0; result < 0 && errno == EINTR && i < kMostInterruptions; ++i) result = call();
  return result;
}

// The same, and once more if the file system was full of a file that is being freed
// (removed_file.h).
template <typename Call>
auto WithSpace(const Call& call) {
  auto result = Uninterrupted(call);
  const int error = errno;
  if (result < 0 && HasSpaceNow(error)) return Uninterrupted(call);
  errno = error;
  return result;
}

// Owns a file descriptor; negative when there is none.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept;
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();

  int get() const { return number_; }

 private:
  int number_;
};

// Unimplemented: bytes came out of order for a file system that may take them in order only. A save
// that writes a file in parts recognises this text, and writes whole files instead.
absl::Status InOrderOnly(absl::string_view message);

// A file that is written. Closed by the destructor; never removed by it. A forked child does not
// have it.
class PosixFile {
 public:
  // Creates the file `name` in an open directory for writing; fails when it exists. `path` is for
  // messages.
  static absl::StatusOr<PosixFile> Create(int directory, const std::string& name,
                                          const std::string& path);

  // Opens a file that another process created, for writing.
  static absl::StatusOr<PosixFile> OpenForWriting(const std::string& path);

  const std::string& path() const { return path_; }

  // Locks the file until it is closed or the process ends. False where the file system has no
  // locks.
  bool Lock() const;

  // Writes all of `bytes` at `offset`. Safe to call from several threads. Unimplemented, and sets
  // *refused if it is given, where the file system may take bytes in order only.
  absl::Status WriteAt(int64_t offset, absl::string_view bytes, bool* refused = nullptr) const;

  // Writes all of `bytes` at the end of what was appended before.
  absl::Status Append(absl::string_view bytes) const;

  // Reserves `size_bytes` on disk where the file system gains by it, so that a
  // full disk is found before anything is written. A file system that cannot
  // reserve is not an error.
  absl::Status Reserve(int64_t size_bytes) const;

  // Whether a file of `size_bytes` on this file system is better written past the page cache
  // (direct_writes.h). AUTODIST_DIRECT_WRITES settles it, "always" or "never"; else it is where
  // that was measured to pay (docs/design/save-data.md).
  bool WritesDirectly(int64_t size_bytes) const;

  // Returns once the bytes have reached the device.
  absl::Status Sync() const;

  // Returns the error that closing the file would find, but keeps the lock. Some file systems find
  // a full disk only then.
  absl::Status Finish() const;

 private:
  PosixFile(std::string path, UninheritedDescriptor descriptor);

  std::string path_;
  UninheritedDescriptor descriptor_;
};

// fsync of a file or a directory. It is not an error if the file system cannot sync it.
absl::Status SyncDescriptor(int descriptor, const std::string& path);

// Opens a directory: to be read where that is permitted, else for calls relative to it alone.
// Negative, with errno, where it cannot be.
Descriptor OpenDirectory(int parent, const std::string& path);

// While it lives, this thread and those it starts do not get a signal that a system call sends to
// its own thread: the call fails, and the signal is dropped.
class BlockedSignal {
 public:
  explicit BlockedSignal(int number);
  ~BlockedSignal();
  BlockedSignal(const BlockedSignal&) = delete;
  BlockedSignal& operator=(const BlockedSignal&) = delete;

 private:
  const int number_;
  bool was_blocked_;
};

// While it lives, a write beyond the process's limit of file sizes is an error, for this thread and
// those it starts. Otherwise the signal SIGXFSZ would kill the process.
class FileSizeErrors : public BlockedSignal {
 public:
  FileSizeErrors() : BlockedSignal(SIGXFSZ) {}
};

}  // namespace autodist

#endif  // AUTODIST_STORAGE_POSIX_POSIX_IO_H_
