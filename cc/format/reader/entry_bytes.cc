// The bytes of one entry of a checkpoint, read in order through a buffer.

#include "format/reader/entry_bytes.h"

#include <algorithm>
#include <cstring>

#include "format/values/copy_and_sum.h"
#include "versions/tensorflow_versions.h"

namespace autodist {

absl::string_view EntryBytes::Take(int64_t most) {
  if (chunk_.empty()) Refill();
  const absl::string_view bytes = chunk_.substr(0, most);
  chunk_.remove_prefix(bytes.size());
  return bytes;
}

bool EntryBytes::TakeInto(int64_t size, char* out) {
  while (size > 0) {
    const absl::string_view bytes = Take(size);
    if (bytes.empty()) return false;
    std::memcpy(out, bytes.data(), bytes.size());
    out += bytes.size();
    size -= bytes.size();
  }
  return true;
}

bool EntryBytes::AddTo(int64_t count, absl::crc32c_t* crc) {
  while (count > 0) {
    const absl::string_view bytes = Take(count);
    if (bytes.empty()) return false;
    *crc = absl::ConcatCrc32c(*crc, Sum(bytes.data(), bytes.size()), bytes.size());
    count -= bytes.size();
  }
  return true;
}

bool EntryBytes::TakeVarint(uint64_t* value) {
  *value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const absl::string_view byte = Take(1);
    if (byte.empty()) return false;
    *value |= static_cast<uint64_t>(byte[0] & 0x7f) << shift;
    if ((byte[0] & 0x80) == 0) return true;
  }
  return false;
}

void EntryBytes::Refill() {
  const int64_t size = std::min(kBufferBytes, end_ - position_);
  if (size <= 0 || !status_.ok()) return;
  status_ = ReadFileBytes(file_, position_, absl::MakeSpan(buffer_.data(), size), &chunk_);
  // The status of a read past the end is OutOfRange; that the bytes are missing is for the caller
  // to say.
  if (absl::IsOutOfRange(status_)) status_ = absl::OkStatus();
  position_ = chunk_.empty() ? end_ : position_ + static_cast<int64_t>(chunk_.size());
}

}  // namespace autodist
