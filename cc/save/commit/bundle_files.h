// The two files of a bundle while they are being written, and the order in which they are
// committed.
//
//   data staged .. index staged .. data renamed .. index renamed .. former data removed
//
// Each step is synced before the next: the file that was staged, the directory after a rename. A
// data file that an index names is never touched. Over a bundle in use, the new data file gets a
// name with another number of files, and the rename of the index commits. Then the data file gets
// the usual name in the same way (docs/design/durability.md):
//
//   m.index -> m.data-00000-of-00001, then -> m.data-00000-of-00002, then -> m.data-00000-of-00001
//
// Of two saves to one prefix at the same time the second is refused before it writes anything.
// A commit that fails, and an object destroyed without one, leave what was there before, the
// directory gone again if Create() made it. Files of dead savers are removed by Create().

#ifndef AUTODIST_SAVE_COMMIT_BUNDLE_FILES_H_
#define AUTODIST_SAVE_COMMIT_BUNDLE_FILES_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/directory/save_directory.h"
#include "storage/directory/staged_file.h"

namespace autodist {

class BundleFiles {
 public:
  // The bytes of the index of a bundle of so many data files, of which the first holds everything.
  using IndexOf = std::function<absl::StatusOr<std::string>(int data_file_count)>;

  // Creates the directory of `prefix` (one level, as stock TensorFlow does) and the data file under
  // a temporary name. Without `durable` nothing is synced.
  static absl::StatusOr<std::unique_ptr<BundleFiles>> Create(const std::string& prefix,
                                                             bool durable);

  // The same in a directory that is there; `name` is the last part of the prefix.
  static absl::StatusOr<std::unique_ptr<BundleFiles>> CreateIn(
      std::unique_ptr<SaveDirectory> directory, const std::string& name, bool durable);

  ~BundleFiles();
  BundleFiles(const BundleFiles&) = delete;
  BundleFiles& operator=(const BundleFiles&) = delete;

  // See SaveDirectory and NewFile.
  bool is_sequential() const { return directory_->is_sequential(); }
  // The path of the data file as it is now, for other processes to write to; "" where they cannot.
  std::string data_path() const;
  absl::Status ReserveData(int64_t size_bytes) { return data_->file().Reserve(size_bytes); }
  void WriteDirectly(int64_t size_bytes) { data_->file().WriteDirectly(size_bytes); }
  absl::Status WriteData(int64_t offset, absl::string_view bytes) {
    return data_->file().WriteAt(offset, bytes);
  }

  // Tries whether the data file takes its bytes, so many, in any order; what is written there is
  // overwritten later. For bytes that can be made once only.
  absl::Status TryAnyOrder(int64_t size_bytes);

  // Called after an error: whether all can be written again, in order, since the file system takes
  // nothing else. The data file is empty then.
  absl::StatusOr<bool> BeginAgainInOrder();

  // Makes the bundle appear under its prefix. At most once.
  absl::Status Commit(const IndexOf& index);

 private:
  BundleFiles(std::unique_ptr<SaveDirectory> directory, std::string name, bool durable);

  static absl::StatusOr<std::unique_ptr<BundleFiles>> OpenAndCreate(const std::string& prefix,
                                                                    bool durable,
                                                                    bool is_new_directory);
  absl::Status Prepare();
  absl::Status CreateData();
  std::string DataName(int data_file_count) const;
  void RenameToOne(const IndexOf& index);

  const OwnProcess process_;
  const std::unique_ptr<SaveDirectory> directory_;
  const std::string name_;
  const bool durable_;
  std::unique_ptr<NameLock> lock_;  // of the index
  int data_file_count_ = 0;         // 0: not chosen yet
  std::unique_ptr<StagedFile> data_;
  std::string directory_path_;  // absolute; empty where it is none of system calls
  std::string made_directory_;  // the path of the directory if Create() made it
};

}  // namespace autodist

#endif  // AUTODIST_SAVE_COMMIT_BUNDLE_FILES_H_
