// Keeps two saves from writing under one name at the same time.
//
// The lock of `m` is a lock (flock) on the file m.autodist00000000-000000000000 beside it, which
// the holder removes when it is done. The kernel ends the lock with the process that has it,
// however that ends; a forked child does not keep it (uninherited_descriptor.h). A file that is
// left then keeps nobody out, and the next one to lock the name, or to save into the directory,
// removes it. Whoever locks a file that was removed meanwhile makes it anew, so that two never hold
// locks on different files of one name. Nobody removes a file that others made and that it has not
// locked.
//
// Some file systems have no such locks: those that are not POSIX, and NFS without its lock service.
// There only threads of one process keep each other out. That is logged, once.

#ifndef AUTODIST_STORAGE_POSIX_NAME_LOCK_H_
#define AUTODIST_STORAGE_POSIX_NAME_LOCK_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/posix/posix_io.h"
#include "storage/posix/uninherited_descriptor.h"

namespace autodist {

// Held while it lives.
class NameLock {
 public:
  // Locks `name` in an open directory, whose path is for messages. AlreadyExists, saying who holds
  // it, if another does.
  static absl::StatusOr<std::unique_ptr<NameLock>> Acquire(int directory,
                                                           const std::string& directory_path,
                                                           const std::string& name);

  // The same among the threads of this process, by the whole path.
  static absl::StatusOr<std::unique_ptr<NameLock>> AcquireInProcess(const std::string& path);

  ~NameLock();
  NameLock(const NameLock&) = delete;
  NameLock& operator=(const NameLock&) = delete;

  // Whether other processes are kept out too.
  bool excludes_processes() const { return file_.get() >= 0; }

 private:
  NameLock() = default;

  const OwnProcess process_;
  UninheritedDescriptor file_;
  Descriptor directory_{-1};
  std::string file_name_;
  std::string key_;  // in this process
};

// Whether `name` is that of a lock's file.
bool IsLockName(const std::string& name);

}  // namespace autodist

#endif  // AUTODIST_STORAGE_POSIX_NAME_LOCK_H_
