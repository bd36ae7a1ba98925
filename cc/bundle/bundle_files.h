// The two files of a bundle while they are being written.
//
// Both are written under temporary names beside their targets and take their
// final names together, data first, once both are complete:
//
//   data temporary written .. synced .. index temporary written .. synced
//     .. data renamed .. index renamed .. directory synced
//
// Whatever has not been committed when the object is destroyed is removed, the
// directory too if Create() made it. A POSIX prefix (no scheme, or file://) is
// written with pwrite; any other goes through TensorFlow's file systems, in
// order.

#ifndef AUTODIST_BUNDLE_BUNDLE_FILES_H_
#define AUTODIST_BUNDLE_BUNDLE_FILES_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace autodist {

class BundleFiles {
 public:
  // Creates the directory of `prefix` (one level, as stock TensorFlow does) and
  // the temporary data file.
  static absl::StatusOr<std::unique_ptr<BundleFiles>> Create(const std::string& prefix);

  virtual ~BundleFiles() = default;

  // Whether WriteData() must be called with ascending, gapless offsets by one
  // thread; else any thread may write anywhere.
  virtual bool is_sequential() const = 0;

  // Tells the size the data file will have. Called before any WriteData().
  virtual absl::Status ReserveData(int64_t size_bytes) = 0;

  virtual absl::Status WriteData(int64_t offset, absl::string_view bytes) = 0;

  // Makes the bundle appear under its prefix. At most once.
  virtual absl::Status Commit(absl::string_view index) = 0;
};

// What Create() chooses from; both take a directory that exists.
absl::StatusOr<std::unique_ptr<BundleFiles>> CreatePosixBundleFiles(const std::string& prefix);
absl::StatusOr<std::unique_ptr<BundleFiles>> CreateEnvBundleFiles(const std::string& prefix);

// `path` with a random suffix that marks it as temporary, as stock TensorFlow
// names them.
std::string TemporaryName(const std::string& path);

}  // namespace autodist

#endif  // AUTODIST_BUNDLE_BUNDLE_FILES_H_
