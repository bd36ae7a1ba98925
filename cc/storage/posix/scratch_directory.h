// A temporary directory for files that TensorFlow writes, before they are renamed. It has a
// temporary name (temporary_name.h), is locked while its saver lives, and is removed with its
// contents.

#ifndef AUTODIST_STORAGE_POSIX_SCRATCH_DIRECTORY_H_
#define AUTODIST_STORAGE_POSIX_SCRATCH_DIRECTORY_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/posix/posix_io.h"
#include "storage/posix/uninherited_descriptor.h"

namespace autodist {

class ScratchDirectory {
 public:
  // Removes the directory if Create() made one.
  ~ScratchDirectory();
  ScratchDirectory() = default;
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  // Makes it in the directory `parent`, on a POSIX file system. Called once. Another saver may
  // remove it before it is locked; then this makes another.
  absl::Status Create(const std::string& parent, const std::string& name);

  const std::string& name() const { return name_; }

 private:
  // False if another saver removed the directory meanwhile.
  absl::StatusOr<bool> TryCreate(const std::string& parent, std::string name);

  const OwnProcess process_;
  std::string name_;
  Descriptor parent_{-1};
  UninheritedDescriptor descriptor_;
};

// Removes the directory `name` of the open directory `parent`, of a temporary name, if its saver is
// dead: if nobody has its lock.
void RemoveScratchIfUnlocked(int parent, const std::string& name);

}  // namespace autodist

#endif  // AUTODIST_STORAGE_POSIX_SCRATCH_DIRECTORY_H_
