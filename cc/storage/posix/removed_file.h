// Removes the name of a large file without waiting until its bytes are freed.
//
// The kernel frees a file once its last name and the last reference to it are gone; for a large
// file that takes long. So a reference outlives the name, and a thread lets go of it: as a page of
// the file that is mapped. The names change in the order in which they always do, and what a crash
// leaves is the same: the kernel frees a file without a name whenever its process ends.
//
// A mapping, and not a descriptor: a forked child would keep that, and with it the file's blocks.

#ifndef AUTODIST_STORAGE_POSIX_REMOVED_FILE_H_
#define AUTODIST_STORAGE_POSIX_REMOVED_FILE_H_

#include <string>

namespace autodist {

class RemovedFile {
 public:
  // Refers to the file `name` of an open directory, before its name is removed. Refers to nothing
  // if the file is small, has another name, is no regular file, or cannot be opened or mapped: then
  // who removes the name waits for the kernel.
  RemovedFile(int directory, const std::string& name);
  // Lets go of it, and waits.
  ~RemovedFile();
  RemovedFile(const RemovedFile&) = delete;
  RemovedFile& operator=(const RemovedFile&) = delete;

  // Lets go of it in a thread of its own; where none can be started, waits.
  void LetGo();

 private:
  void* page_ = nullptr;
};

// Waits until all that was let go is freed. False if there was nothing.
bool AwaitRemovedFiles();

// Whether a call that failed with `error`, an errno value, may succeed now: the file system was
// full, and what was let go has been freed since.
bool HasSpaceNow(int error);

}  // namespace autodist

#endif  // AUTODIST_STORAGE_POSIX_REMOVED_FILE_H_
