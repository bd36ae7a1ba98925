// The CRC of one entry's bytes. The header has the formats.

#include "tables/sums/stored_bytes.h"

#include <algorithm>
#include <string_view>

#include "tables/bytes/crc32c.h"

namespace autodist {
namespace {

class BufferedBytes {
 public:
  BufferedBytes(const ByteSource& source, const StoredRange& range, std::string* buffer)
      : source_(source),
        position_(range.offset),
        end_(range.offset + range.size_bytes),
        buffer_(*buffer) {}

  uint64_t remaining() const { return static_cast<uint64_t>(end_ - position_) + chunk_.size(); }
  const Outcome& outcome() const { return outcome_; }

  // The next bytes, at least one and at most `most`; empty where there are none or they cannot be
  // read.
  std::string_view Take(uint64_t most) {
    if (chunk_.empty() && outcome_.is_good() && position_ < end_) {
      const int64_t size = std::min(static_cast<int64_t>(buffer_.size()), end_ - position_);
      outcome_ = source_.Read(position_, size, buffer_.data());
      if (!outcome_.is_good()) return {};
      chunk_ = std::string_view(buffer_.data(), size);
      position_ += size;
    }
    const std::string_view bytes = chunk_.substr(0, most);
    chunk_.remove_prefix(bytes.size());
    return bytes;
  }

  bool AddTo(uint64_t count, uint32_t* crc) {
    while (count > 0) {
      const std::string_view bytes = Take(count);
      if (bytes.empty()) return false;
      *crc = ExtendCrc(*crc, bytes);
      count -= bytes.size();
    }
    return true;
  }

  bool TakeVarint(uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const std::string_view byte = Take(1);
      if (byte.empty()) return false;
      *value |= static_cast<uint64_t>(byte[0] & 0x7f) << shift;
      if ((byte[0] & 0x80) == 0) return true;
    }
    return false;
  }

 private:
  const ByteSource& source_;
  int64_t position_;
  const int64_t end_;
  std::string& buffer_;
  std::string_view chunk_;
  Outcome outcome_ = Outcome::Good();
};

template <typename Number>
std::string_view BytesOf(const Number& number) {
  return {reinterpret_cast<const char*>(&number), sizeof(number)};
}

bool SumStrings(int64_t count, BufferedBytes* bytes, uint32_t* crc) {
  uint64_t total = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint64_t length;
    // The sum of what is left to read can then not wrap around.
    if (!bytes->TakeVarint(&length) || length > bytes->remaining() ||
        total > bytes->remaining() - length) {
      return false;
    }
    total += length;
    *crc = length > UINT32_MAX ? ExtendCrc(*crc, BytesOf(length))
                               : ExtendCrc(*crc, BytesOf(static_cast<uint32_t>(length)));
  }
  return bytes->remaining() == total + sizeof(uint32_t) && bytes->AddTo(bytes->remaining(), crc);
}

bool SumVariants(int64_t count, BufferedBytes* bytes, uint32_t* crc) {
  for (int64_t i = 0; i < count; ++i) {
    uint64_t length;
    if (!bytes->TakeVarint(&length) || length > bytes->remaining()) return false;
    *crc = ExtendCrc(*crc, BytesOf(length));
    if (!bytes->AddTo(length, crc) || !bytes->AddTo(sizeof(uint32_t), crc)) return false;
  }
  return bytes->remaining() == 0;
}

}  // namespace

Outcome SumRange(const ByteSource& source, const StoredRange& range, std::string* buffer,
                 uint32_t* crc) {
  *crc = 0;
  BufferedBytes bytes(source, range, buffer);
  bool parses = true;
  switch (range.content) {
    case Content::kPlain:
      parses = bytes.AddTo(bytes.remaining(), crc);
      break;
    case Content::kStrings:
      parses = SumStrings(range.elements, &bytes, crc);
      break;
    case Content::kVariants:
      parses = SumVariants(range.elements, &bytes, crc);
      break;
  }
  if (!bytes.outcome().is_good()) return bytes.outcome();
  return parses ? Outcome::Good() : Outcome::Damaged("they do not parse");
}

}  // namespace autodist
