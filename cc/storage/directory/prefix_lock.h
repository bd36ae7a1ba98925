// Keeps two saves to one prefix from going on at the same time: not only their bundles, but also
// what Python writes beside them. It is the lock (name_lock.h) of the prefix; BundleFiles and
// StagedBundle lock the index besides, for saves that nobody locked the prefix for.

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
  // Makes the directory of `prefix` if it is not there (one level, as a save does), durably if that
  // is asked; the destructor removes it again if nothing is in it. AlreadyExists, saying who saves,
  // if another save has the lock.
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
