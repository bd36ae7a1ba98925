// A bundle that TensorFlow writes, in any number of data files, on its way to its prefix: what
// BundleFiles (bundle_files.h) does for our own.
//
//   m.autodist<boot>-<random>/m.index, m.data-*    written there, synced
//   m.data-0000i-of-0000c                          renamed to; no index names c files
//   m.index                                        written with c, renamed: the commit
//
// Where c is not the number of files that the bundle has, its files then get their usual names in
// the same way.

#ifndef AUTODIST_SAVE_COMMIT_STAGED_BUNDLE_H_
#define AUTODIST_SAVE_COMMIT_STAGED_BUNDLE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "save/commit/former_bundle.h"
#include "storage/directory/save_directory.h"
#include "storage/directory/staged_file.h"
#include "storage/posix/scratch_directory.h"

namespace autodist {

class StagedBundle {
 public:
  // Makes a directory to write the bundle of `prefix` into, whose own directory is there, on a
  // POSIX file system. What dead savers left is removed. Without `durable` nothing is synced.
  static absl::StatusOr<std::unique_ptr<StagedBundle>> Create(const std::string& prefix,
                                                              bool durable);

  // The same in a directory that is open, whose path is `parent`.
  static absl::StatusOr<std::unique_ptr<StagedBundle>> CreateIn(
      std::unique_ptr<SaveDirectory> directory, const std::string& parent, const std::string& name,
      bool durable);

  // The prefix to write the bundle under.
  std::string prefix() const;

  // Makes the bundle appear under its own prefix, once it is written. At most once. After an error
  // what was there before is.
  absl::Status Commit();

 private:
  StagedBundle(std::unique_ptr<SaveDirectory> directory, std::string parent, std::string name,
               bool durable);

  absl::StatusOr<std::vector<std::string>> FindData() const;
  std::string NameOf(const std::string& data_file, int file_count) const;
  absl::Status Sync();
  absl::Status StageIndex(int file_count, StagedFile* file) const;
  // `names` are those that the files of `data` get, `from` those that they have.
  absl::Status MoveIn(const std::vector<std::string>& data, const std::vector<std::string>& names);
  void RenameTo(int file_count, const std::vector<std::string>& data,
                const std::vector<std::string>& from);
  void RemoveAll(absl::Span<const std::string> names) noexcept;

  const std::unique_ptr<SaveDirectory> directory_;
  const std::string parent_;
  const std::string name_;
  const bool durable_;
  std::unique_ptr<NameLock> lock_;  // of the index
  ScratchDirectory scratch_;
};

}  // namespace autodist

#endif  // AUTODIST_SAVE_COMMIT_STAGED_BUNDLE_H_
