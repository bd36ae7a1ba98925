// What a table is read from: a file, or bytes in memory.

#ifndef AUTODIST_TABLES_TABLE_BYTE_SOURCE_H_
#define AUTODIST_TABLES_TABLE_BYTE_SOURCE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "tables/outcome.h"

namespace autodist {

class ByteSource {
 public:
  virtual ~ByteSource() = default;

  virtual uint64_t size_bytes() const = 0;

  // Reads `size` bytes at `offset` into `out`. Damaged if the source has become shorter.
  // REQUIRES: they lie within size_bytes().
  virtual Outcome Read(uint64_t offset, uint64_t size, char* out) const = 0;
};

// Bytes that outlive the source.
class MemorySource : public ByteSource {
 public:
  explicit MemorySource(std::string_view bytes) : bytes_(bytes) {}
  uint64_t size_bytes() const override { return bytes_.size(); }
  Outcome Read(uint64_t offset, uint64_t size, char* out) const override;

 private:
  const std::string_view bytes_;
};

// A regular file, read by pread. It is not mapped: a mapped file that another process cuts short
// ends this one by SIGBUS.
class FileSource : public ByteSource {
 public:
  FileSource() = default;
  ~FileSource() override;
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  // Unreadable if there is no such file, it may not be read, or it is no regular file. Call it
  // once, first.
  Outcome Open(const std::string& path);

  uint64_t size_bytes() const override { return size_bytes_; }
  Outcome Read(uint64_t offset, uint64_t size, char* out) const override;

 private:
  int descriptor_ = -1;
  uint64_t size_bytes_ = 0;
};

}  // namespace autodist

#endif  // AUTODIST_TABLES_TABLE_BYTE_SOURCE_H_
