// Locks a prefix, so that two saves never write to it at the same time: neither their bundles, nor
// the files that Python writes beside them. It is the lock (name_lock.h) of the prefix. BundleFiles
// and StagedBundle also lock the index, for saves without this lock.

#ifndef AUTODIST_STORAGE_DIRECTORY_PREFIX_LOCK_H_
#define AUTODIST_STORAGE_DIRECTORY_PREFIX_LOCK_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "storage/directory/save_directory.h"
#include "storage/posix/name_lock.h"

namespace autodist {

// Held while it lives.
class PrefixLock {
 public:
  // Makes the directory of `prefix` if it is missing (one level, as a save does), durably if
  // `durable`. The destructor removes it again if it is empty. AlreadyExists, saying who saves, if
  // another save has the lock.
  static absl::StatusOr<std::unique_ptr<PrefixLock>> Acquire(const std::string& prefix,
                                                             bool durable);

  ~PrefixLock();
  PrefixLock(const PrefixLock&) = delete;
  PrefixLock& operator=(const PrefixLock&) = delete;

  // Whether other processes are kept out too.
  bool excludes_processes() const { return lock_->excludes_processes(); }

 private:
  PrefixLock() = default;
  absl::Status Make(const std::string& directory, bool durable);

  const OwnProcess process_;
  std::string made_directory_;
  std::unique_ptr<SaveDirectory> directory_;
  std::unique_ptr<NameLock> lock_;
};

}  // namespace autodist

#endif  // AUTODIST_STORAGE_DIRECTORY_PREFIX_LOCK_H_
