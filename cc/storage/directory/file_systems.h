// What is known of file systems by their type: the one list of those that several processes may
// write one file on, and whose locks all see who see the file.

#ifndef AUTODIST_STORAGE_DIRECTORY_FILE_SYSTEMS_H_
#define AUTODIST_STORAGE_DIRECTORY_FILE_SYSTEMS_H_

#include <cstdint>
#include <string>

namespace autodist {

enum class FileSystemKind {
  kOneMachine,  // whoever sees a file is on the same kernel, which has its pages and locks
  kCoherent,    // clients on several machines that see each other's writes at once
  // Clients that keep pages, or locks, of their own: NFS, CIFS, 9p, FUSE; and what is not known.
  kOther,
};

// `type` is f_type of statfs(), as an unsigned number of 32 bits.
FileSystemKind KindOfFileSystem(int64_t type);

// For messages: "NFS", or "a file system of the unknown type 0x12".
std::string NameOfFileSystem(int64_t type);

}  // namespace autodist

#endif  // AUTODIST_STORAGE_DIRECTORY_FILE_SYSTEMS_H_
