// Finds on which file system a process sees a file.

#include "storage/directory/file_place.h"

#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <fstream>

#include "storage/directory/file_systems.h"
#include "storage/directory/save_directory.h"
#include "storage/posix/posix_io.h"

namespace autodist {
namespace {

const std::string& Kernel() {
  static const std::string* const id = [] {
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    auto* line = new std::string;
    std::getline(file, *line);
    return line;
  }();
  return *id;
}

}  // namespace

absl::StatusOr<FilePlace> PlaceOf(const std::string& path) {
  struct stat status;
  struct statfs file_system;
  // Not opened: where locks are emulated, closing a file may end those that are held on it.
  if (lstat(path.c_str(), &status) != 0 || statfs(path.c_str(), &file_system) != 0) {
    return PosixError("cannot find out the file system of", path, errno);
  }
  FilePlace place;
  place.file_system = static_cast<uint32_t>(file_system.f_type);
  place.block_bytes = static_cast<int64_t>(status.st_blksize);
  place.device = static_cast<int64_t>(status.st_dev);
  place.inode = static_cast<int64_t>(status.st_ino);
  place.kernel = Kernel();
  return place;
}

absl::StatusOr<FilePlace> PlaceOfGrowing(const std::string& path) {
  const std::string directory = SplitPath(path).directory();
  struct statfs file_system;
  if (statfs(directory.empty() ? "." : directory.c_str(), &file_system) != 0) {
    return PosixError("cannot find out the file system of", directory, errno);
  }
  const int64_t type = static_cast<uint32_t>(file_system.f_type);
  if (KindOfFileSystem(type) != FileSystemKind::kOther) return PlaceOf(path);
  FilePlace place;
  place.file_system = type;
  place.block_bytes = static_cast<int64_t>(file_system.f_bsize);
  place.kernel = Kernel();
  return place;
}

}  // namespace autodist
