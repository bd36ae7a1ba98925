// Shapes and slices; the header has the formats.

#include "tables/bundle/slice.h"

#include "tables/bytes/wire_reader.h"

namespace autodist {
namespace {

Outcome NoShape() { return Outcome::Damaged("it has no valid shape"); }
Outcome NoSlice() { return Outcome::Damaged("it has no valid slice"); }

Outcome ParseExtent(std::string_view message, SliceExtent* extent) {
  *extent = {0, kAllOfAxis};
  bool has_length = false;
  WireReader reader(message);
  while (reader.Next()) {
    if (reader.Is(1, WireType::kVarint)) {
      extent->start = static_cast<int64_t>(reader.number());
    } else if (reader.Is(2, WireType::kVarint)) {
      extent->length = static_cast<int64_t>(reader.number());
      has_length = true;
    }
  }
  if (reader.is_malformed() || extent->start < 0) return NoSlice();
  if (!has_length) return extent->start == 0 ? Outcome::Good() : NoSlice();
  if (extent->length < 0 || extent->start > INT64_MAX - extent->length) return NoSlice();
  return Outcome::Good();
}

void AppendSigned(int64_t value, std::string* key) {
  const uint64_t magnitude = value < 0 ? ~static_cast<uint64_t>(value) : value;
  int bits = 0;
  while (bits < 63 && magnitude >> bits != 0) ++bits;
  const int size = bits / 7 + 1;
  // The number, highest byte first, in ten bytes with its sign.
  unsigned char bytes[10];
  for (int i = 0; i < 10; ++i) {
    const int shift = 8 * (9 - i);
    bytes[i] = shift < 64 ? static_cast<unsigned char>(static_cast<uint64_t>(value) >> shift)
                          : (value < 0 ? 0xff : 0);
  }
  // Ones in front, as many as there are bytes.
  unsigned char* const begin = bytes + 10 - size;
  for (int i = 0; i < size; ++i) {
    begin[i / 8] ^= static_cast<unsigned char>(0x80 >> (i % 8));
  }
  key->append(reinterpret_cast<const char*>(begin), size);
}

void AppendUnsigned(uint64_t value, std::string* key) {
  std::string digits;
  for (; value != 0; value >>= 8) digits.insert(digits.begin(), static_cast<char>(value));
  key->push_back(static_cast<char>(digits.size()));
  *key += digits;
}

}  // namespace

bool ParseDim(std::string_view message, int64_t* size) {
  *size = 0;
  WireReader reader(message);
  while (reader.Next()) {
    if (reader.Is(1, WireType::kVarint)) *size = static_cast<int64_t>(reader.number());
  }
  return !reader.is_malformed();
}

Outcome ParseShape(std::string_view message, Dims* shape) {
  WireReader reader(message);
  while (reader.Next()) {
    if (reader.Is(2, WireType::kBytes)) {
      int64_t size;
      if (shape->size() == kMostDimensions || !ParseDim(reader.bytes(), &size)) return NoShape();
      shape->push_back(size);
    } else if (reader.Is(3, WireType::kVarint) && reader.number() != 0) {
      return NoShape();
    }
  }
  if (reader.is_malformed()) return NoShape();
  return Outcome::Good();
}

Outcome ParseSlice(std::string_view message, Slice* slice) {
  WireReader reader(message);
  while (reader.Next()) {
    if (!reader.Is(1, WireType::kBytes)) continue;
    SliceExtent extent;
    Outcome outcome = ParseExtent(reader.bytes(), &extent);
    if (!outcome.is_good()) return outcome;
    if (slice->size() == kMostDimensions) return NoSlice();
    slice->push_back(extent);
  }
  return reader.is_malformed() ? NoSlice() : Outcome::Good();
}

std::string SliceText(const Slice& slice) {
  std::string text;
  for (const SliceExtent& extent : slice) {
    if (!text.empty()) text += ':';
    text += extent.length == kAllOfAxis
                ? "-"
                : std::to_string(extent.start) + ',' + std::to_string(extent.length);
  }
  return text;
}

std::string SliceKey(std::string_view name, const Slice& slice) {
  std::string key;
  AppendUnsigned(0, &key);
  for (const char c : name) {
    key.push_back(c);
    if (c == '\0') key.push_back('\xff');
    if (c == '\xff') key.push_back('\0');
  }
  key.append("\0\1", 2);
  AppendUnsigned(slice.size(), &key);
  for (const SliceExtent& extent : slice) {
    AppendSigned(extent.start, &key);
    AppendSigned(extent.length, &key);
  }
  return key;
}

std::optional<Box> BoxOfSlice(const Slice& slice, const Dims& shape) {
  if (slice.size() != shape.size()) return std::nullopt;
  Box box;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    const bool is_all = slice[axis].length == kAllOfAxis;
    const int64_t start = slice[axis].start, length = is_all ? shape[axis] : slice[axis].length;
    if (start > shape[axis] || length > shape[axis] - start) return std::nullopt;
    box.start.push_back(start);
    box.extent.push_back(length);
  }
  return box;
}

}  // namespace autodist
