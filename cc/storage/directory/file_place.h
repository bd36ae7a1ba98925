// Finds on which file system a process sees a file. This tells whether two processes that open the
// same path write to the same pages.

#ifndef AUTODIST_STORAGE_DIRECTORY_FILE_PLACE_H_
#define AUTODIST_STORAGE_DIRECTORY_FILE_PLACE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace autodist {

struct FilePlace {
  int64_t file_system = 0;  // statfs: f_type, as an unsigned number of 32 bits
  int64_t block_bytes = 0;  // stat: st_blksize, which is the stripe on some file systems
  int64_t device = 0;       // stat: st_dev
  int64_t inode = 0;        // stat: st_ino
  std::string kernel;       // the boot id of the kernel; empty if it does not tell
};

// Looks at a file that exists. Errors name the path.
absl::StatusOr<FilePlace> PlaceOf(const std::string& path);

// The same for a file that another process may be growing. On a file system whose clients cache
// sizes (FileSystemKind::kOther) it does not look at the file. Then device and inode are 0, and
// only its directory must exist.
absl::StatusOr<FilePlace> PlaceOfGrowing(const std::string& path);

}  // namespace autodist

#endif  // AUTODIST_STORAGE_DIRECTORY_FILE_PLACE_H_
