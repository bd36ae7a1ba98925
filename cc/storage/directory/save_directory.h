// A directory that a save writes into, and the files it makes there.
//
// The commit protocol (bundle_files.h, staged_file.h) is written against these two classes. A POSIX
// directory is held open from the beginning, so that a save cleans up after itself even if the
// directory was moved meanwhile. Any other directory goes through TensorFlow's file systems. Tests
// put a directory in between whose calls fail.
//
// Names are those of files in the directory, or relative to it. Every error names the path and
// carries the cause.

#ifndef AUTODIST_STORAGE_DIRECTORY_SAVE_DIRECTORY_H_
#define AUTODIST_STORAGE_DIRECTORY_SAVE_DIRECTORY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/posix/name_lock.h"

namespace autodist {

// A file that this process created. The destructor closes it and never removes it.
class NewFile {
 public:
  virtual ~NewFile() = default;

  // Reserves space where the file system gains by it, so that a full disk is found before anything
  // is written.
  virtual absl::Status Reserve(int64_t size_bytes) = 0;

  // Writes past the page cache from now on, where that pays. The file gets `size_bytes`, each byte
  // once more. It is no error if that is not possible.
  virtual void WriteDirectly(int64_t size_bytes) { (void)size_bytes; }

  // From any thread at any offset, unless the directory is sequential.
  virtual absl::Status WriteAt(int64_t offset, absl::string_view bytes) = 0;

  // Returns once the bytes have reached the device.
  virtual absl::Status Sync() = 0;

  // Closes the file, and returns the error that this finds. Nothing is written afterwards.
  virtual absl::Status Finish() = 0;

  // Whether WriteAt() failed because the file system takes files in order only.
  virtual bool refused_offset() const { return false; }
};

class SaveDirectory {
 public:
  // Opens the directory that the file `path` lies in or would lie in; NotFound if there is none.
  static absl::StatusOr<std::unique_ptr<SaveDirectory>> OpenParent(const std::string& path);

  virtual ~SaveDirectory() = default;

  // Whether WriteAt() must be called with ascending, gapless offsets by one thread.
  virtual bool is_sequential() const = 0;

  // Makes the directory sequential, for files that are created from now on.
  virtual void WriteInOrder() {}

  // Whether Rename() replaces a file at one instant; else files get their final names from the
  // start.
  virtual bool can_rename() const = 0;

  // Creates a file for writing and, where that is possible, locks it for as long as the object
  // lives or the process does. Fails when it exists, if can_rename().
  virtual absl::StatusOr<std::unique_ptr<NewFile>> Create(const std::string& name) = 0;

  // Locks a name (name_lock.h). AlreadyExists, saying who holds it, if another save does.
  virtual absl::StatusOr<std::unique_ptr<NameLock>> Lock(const std::string& name) = 0;

  // Renames, replacing what is there. Fails also when the directory's path leads elsewhere by now.
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;

  // Gives a file a second name. Unimplemented or another error where it cannot have one.
  virtual absl::Status Link(const std::string& name, const std::string& second) = 0;

  virtual absl::Status Remove(const std::string& name) = 0;

  // The same; the bytes of a large file may be freed later, while this process lives. Who needs
  // their space meanwhile waits for it (posix_io.h).
  virtual absl::Status RemoveLarge(const std::string& name) { return Remove(name); }

  // PermissionDenied for a directory that may be written to but not read.
  virtual absl::StatusOr<std::vector<std::string>> List() = 0;

  // Whether there is a file of a name.
  virtual bool Exists(const std::string& name) = 0;

  // Makes the names in the directory durable.
  virtual absl::Status Sync() = 0;

  // Makes the bytes of a file durable that somebody else wrote. Unimplemented where files are
  // synced only by who writes them.
  virtual absl::Status SyncFile(const std::string& name) = 0;

  // Removes a file, or a scratch directory, of a temporary name (temporary_name.h) if whoever made
  // it is dead for certain.
  virtual void RemoveIfAbandoned(const std::string& name) = 0;
};

// What OpenParent() chooses from. `directory` is a path; `start` what stands before the names.
absl::StatusOr<std::unique_ptr<SaveDirectory>> OpenPosixDirectory(const std::string& directory);
absl::StatusOr<std::unique_ptr<SaveDirectory>> OpenEnvDirectory(const std::string& start);

// A path in two: all up to the last slash, and the name after it.
struct SplitPath {
  explicit SplitPath(const std::string& path);
  // Of a path: without the slash, unless it is nothing else. Empty: the current directory.
  std::string directory() const;

  std::string start;
  std::string name;
};

// `path` for system calls if it is local (no scheme, or file://), else "". As in TensorFlow, `..`
// removes the name before it, whether there is such a directory or not.
std::string PosixPath(const std::string& path);

}  // namespace autodist

#endif  // AUTODIST_STORAGE_DIRECTORY_SAVE_DIRECTORY_H_
