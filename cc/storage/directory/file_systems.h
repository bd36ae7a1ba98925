// The one list of file systems by type: on which several processes may write one file, and on which
// all that see a file see its locks.

#ifndef AUTODIST_STORAGE_DIRECTORY_FILE_SYSTEMS_H_
#define AUTODIST_STORAGE_DIRECTORY_FILE_SYSTEMS_H_

#include <cstdint>
#include <string>

namespace autodist {

enum class FileSystemKind {
  kOneMachine,  // whoever sees a file is on the same kernel, which has its pages and locks
  kCoherent,    // clients on several machines that see each other's writes at once
  // Clients cache pages, or have locks of their own: NFS, CIFS, 9p, FUSE. Also unknown file
  // systems.
  kOther,
};

// `type` is f_type of statfs(), as an unsigned number of 32 bits.
FileSystemKind KindOfFileSystem(int64_t type);

// For messages: "NFS", or "a file system of the unknown type 0x12".
std::string NameOfFileSystem(int64_t type);

}  // namespace autodist

#endif  // AUTODIST_STORAGE_DIRECTORY_FILE_SYSTEMS_H_
