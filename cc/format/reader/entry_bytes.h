// The bytes of one entry of a checkpoint, read in order through a buffer.

#ifndef AUTODIST_FORMAT_READER_ENTRY_BYTES_H_
#define AUTODIST_FORMAT_READER_ENTRY_BYTES_H_

#include <cstdint>
#include <string>

#include "absl/crc/crc32c.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "format/reader/bundle_reader.h"
#include "tensorflow/core/platform/env.h"

namespace autodist {

class EntryBytes {
 public:
  static constexpr int64_t kBufferBytes = int64_t{1} << 20;

  // `buffer` is of kBufferBytes. REQUIRES: the entry's offset and size are those of a range.
  EntryBytes(const tsl::RandomAccessFile* file, const BundleEntry& entry, std::string* buffer)
      : file_(*file),
        position_(entry.offset),
        end_(entry.offset + entry.size_bytes),
        buffer_(*buffer) {}

  int64_t remaining() const { return end_ - position_ + static_cast<int64_t>(chunk_.size()); }

  // Takes the next bytes, at least one and at most `most`; empty where there are none or they
  // cannot be read, which status() tells.
  absl::string_view Take(int64_t most);

  // Takes the next `size` bytes into `out`; false if there are fewer.
  bool TakeInto(int64_t size, char* out);

  // Adds the next `count` bytes to `crc`; false if there are fewer.
  bool AddTo(int64_t count, absl::crc32c_t* crc);

  bool TakeVarint(uint64_t* value);

  const absl::Status& status() const { return status_; }

 private:
  void Refill();

  const tsl::RandomAccessFile& file_;
  int64_t position_;
  const int64_t end_;
  std::string& buffer_;
  absl::string_view chunk_;
  absl::Status status_;
};

}  // namespace autodist

#endif  // AUTODIST_FORMAT_READER_ENTRY_BYTES_H_
