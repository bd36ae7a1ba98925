// What a table is read from; see the header.

#include "tables/table/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace autodist {

Outcome MemorySource::Read(uint64_t offset, uint64_t size, char* out) const {
  if (size > 0) std::memcpy(out, bytes_.data() + offset, size);
  return Outcome::Good();
}

FileSource::~FileSource() {
  if (descriptor_ >= 0) close(descriptor_);
}

Outcome FileSource::Open(const std::string& path) {
  // O_NONBLOCK: opening a FIFO would wait for a writer.
  descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat status;
  if (descriptor_ < 0 || fstat(descriptor_, &status) != 0) {
    return Outcome::Unreadable(errno, std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) {
    return Outcome::Unreadable(S_ISDIR(status.st_mode) ? EISDIR : EINVAL, "not a regular file");
  }
  size_bytes_ = static_cast<uint64_t>(status.st_size);
  return Outcome::Good();
}

Outcome FileSource::Read(uint64_t offset, uint64_t size, char* out) const {
  while (size > 0) {
    // Linux transfers at most 0x7ffff000 bytes at once.
    const size_t most = static_cast<size_t>(std::min<uint64_t>(size, uint64_t{1} << 30));
    const ssize_t count = pread(descriptor_, out, most, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Outcome::Unreadable(errno, std::strerror(errno));
    if (count == 0) return Outcome::Damaged("it ends early");
    out += count;
    offset += static_cast<uint64_t>(count);
    size -= static_cast<uint64_t>(count);
  }
  return Outcome::Good();
}

}  // namespace autodist
