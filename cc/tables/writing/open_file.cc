// Reads and writes of a file that the caller has open.

#include "tables/writing/open_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/printable.h"

namespace autodist {
namespace {

Outcome SystemError(const char* what, const std::string& path) {
  const int error = errno;
  return Outcome::Unreadable(error,
                             std::string(what) + " " + Printable(path) + ": " + strerror(error));
}

}  // namespace

Outcome OpenFile::Read(int64_t offset, int64_t size, char* bytes) const {
  while (size > 0) {
    const ssize_t count = pread(descriptor, bytes, static_cast<size_t>(size), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return SystemError("cannot read", path);
    if (count == 0) {
      return Outcome::Damaged(Printable(path) + ": ends at byte " + std::to_string(offset) + ", " +
                              std::to_string(size) + " bytes before its index says");
    }
    bytes += count;
    offset += count;
    size -= count;
  }
  return Outcome::Good();
}

Outcome OpenFile::Write(int64_t offset, int64_t size, const char* bytes) const {
  while (size > 0) {
    const ssize_t count = pwrite(descriptor, bytes, static_cast<size_t>(size), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return SystemError("cannot write", path);
    bytes += count;
    offset += count;
    size -= count;
  }
  return Outcome::Good();
}

}  // namespace autodist
