// The few POSIX calls a save needs, as functions that return typed statuses.
//
// Interrupted calls are repeated and short writes continued. Every error names
// the path and carries the text of errno; its code is the one TensorFlow itself
// uses for that errno (ENOSPC: ResourceExhausted, ENOENT: NotFound, ...).

#ifndef AUTODIST_BUNDLE_POSIX_IO_H_
#define AUTODIST_BUNDLE_POSIX_IO_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace autodist {

// "<what> <path>: <text of error>", typed by `error`, an errno value.
absl::Status PosixError(absl::string_view what, const std::string& path, int error);

// A file this process created. Closed by the destructor; never removed by it.
class PosixFile {
 public:
  // Creates `path` for writing; fails when it exists.
  static absl::StatusOr<PosixFile> Create(const std::string& path);

  PosixFile(PosixFile&& other) noexcept;
  PosixFile& operator=(PosixFile&& other) = delete;
  ~PosixFile();

  const std::string& path() const { return path_; }

  // Writes all of `bytes` at `offset`. Safe to call from several threads.
  absl::Status WriteAt(int64_t offset, absl::string_view bytes) const;

  // Reserves `size_bytes` on disk where the file system gains by it, so that a
  // full disk is found before anything is written. A file system that cannot
  // reserve is not an error.
  absl::Status Reserve(int64_t size_bytes) const;

  // Returns once the bytes have reached the device.
  absl::Status Sync() const;

 private:
  PosixFile(std::string path, int descriptor);

  std::string path_;
  int descriptor_;
};

absl::Status RenamePath(const std::string& from, const std::string& to);

// Makes renames inside `directory` durable; "" is the current directory.
absl::Status SyncDirectory(const std::string& directory);

}  // namespace autodist

#endif  // AUTODIST_BUNDLE_POSIX_IO_H_
