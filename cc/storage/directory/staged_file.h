// A file on its way to its name: written beside it, complete, synced, then renamed.

#ifndef AUTODIST_STORAGE_DIRECTORY_STAGED_FILE_H_
#define AUTODIST_STORAGE_DIRECTORY_STAGED_FILE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "storage/directory/save_directory.h"
#include "storage/posix/uninherited_descriptor.h"

namespace autodist {

// Removed by the destructor unless it was moved; not by that of a forked child's copy.
class StagedFile {
 public:
  // Does not own `directory`. Without `durable` nothing is synced.
  StagedFile(SaveDirectory* directory, bool durable);
  ~StagedFile();
  StagedFile(const StagedFile&) = delete;
  StagedFile& operator=(const StagedFile&) = delete;

  // Creates the file under a temporary name made of `name`; where the directory cannot rename,
  // under `name` itself, which must then be the target.
  absl::Status Create(const std::string& name);

  // As it is now; empty if there is none.
  const std::string& name() const { return name_; }

  // REQUIRES: Create() has succeeded.
  NewFile& file() { return *file_; }

  // See NewFile.
  bool refused_offset() const { return file_ != nullptr && file_->refused_offset(); }

  // Syncs the file and finds late errors. Called once all is written.
  absl::Status Finish();

  // Gives the finished file its name, durably. What had the name keeps a second one until the
  // directory is synced, and gets it back if that fails.
  absl::Status MoveTo(const std::string& target);

  // Whether the file has its name or, where a failure could not be undone for certain, may have it
  // after a power cut.
  bool is_moved() const { return is_moved_; }

  // Removes the file, whatever its name is by now.
  void Remove();

 private:
  void TakeBack(bool is_kept, bool was_absent, const std::string& kept);

  SaveDirectory& directory_;
  const OwnProcess process_;
  const bool durable_;
  std::unique_ptr<NewFile> file_;
  std::string name_;
  bool is_moved_ = false;
  bool was_there_before_ = false;  // under its final name, where it was written
};

}  // namespace autodist

#endif  // AUTODIST_STORAGE_DIRECTORY_STAGED_FILE_H_
