// The bytes of a checkpoint's index file. Protocol buffers are written in the order of their
// fields' numbers. A number that is 0 is left out; a message that is set is not, also if it is
// empty.

#include "tables/writing/index_writer.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "core/printable.h"
#include "tables/bytes/little_endian.h"
#include "tables/bytes/masked_crc.h"
#include "tables/bytes/varint.h"
#include "tables/bytes/wire_reader.h"
#include "tables/table/table_builder.h"

namespace autodist {
namespace {

// TensorFlow's kTensorBundleVersion; the least version of readers is 0.
constexpr int64_t kProducer = 1;

void AppendTag(int field, WireType type, std::string* bytes) {
  AppendVarint(static_cast<uint64_t>(field) << 3 | static_cast<uint64_t>(type), bytes);
}

void AppendNonZero(int field, int64_t value, std::string* bytes) {
  if (value == 0) return;
  AppendTag(field, WireType::kVarint, bytes);
  AppendVarint(static_cast<uint64_t>(value), bytes);
}

void AppendMessage(int field, const std::string& message, std::string* bytes) {
  AppendTag(field, WireType::kBytes, bytes);
  AppendVarint(message.size(), bytes);
  *bytes += message;
}

std::string SerializeShape(const Dims& shape) {
  std::string message;
  for (const int64_t size : shape) {
    std::string dim;
    AppendNonZero(1, size, &dim);
    AppendMessage(2, dim, &message);
  }
  return message;
}

std::string SerializeSlice(const Slice& slice) {
  std::string message;
  for (const SliceExtent& extent : slice) {
    std::string bytes;
    if (extent.length != kAllOfAxis) {
      AppendNonZero(1, extent.start, &bytes);
      // A member of a oneof is written also if it is 0.
      AppendTag(2, WireType::kVarint, &bytes);
      AppendVarint(static_cast<uint64_t>(extent.length), &bytes);
    }
    AppendMessage(1, bytes, &message);
  }
  return message;
}

}  // namespace

Outcome BuildIndex(int file_count, const std::vector<StoredEntry>& entries, std::string* bytes) {
  std::vector<std::pair<std::string, const StoredEntry*>> rows;
  rows.reserve(entries.size());
  for (const StoredEntry& entry : entries) {
    rows.emplace_back(entry.is_slice ? SliceKey(entry.name, entry.slice) : entry.name, &entry);
  }
  std::sort(rows.begin(), rows.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  TableBuilder builder;
  builder.Add("", SerializeHeader(file_count));
  std::string_view last;
  for (const auto& [key, entry] : rows) {
    if (key == last) {
      return Outcome::Unsupported("two tensors with the name '" + Printable(entry->name) + "'");
    }
    builder.Add(key, SerializeEntry(*entry));
    last = key;
  }
  *bytes = builder.Finish();
  return Outcome::Good();
}

std::string SerializeHeader(int file_count) {
  std::string version;
  AppendNonZero(1, kProducer, &version);
  std::string header;
  AppendNonZero(1, file_count, &header);
  AppendMessage(3, version, &header);  // field 2, the byte order, is 0 for LITTLE
  return header;
}

std::string SerializeEntry(const StoredEntry& entry) {
  std::string bytes;
  AppendNonZero(1, entry.dtype, &bytes);
  AppendMessage(2, SerializeShape(entry.shape), &bytes);
  if (!entry.slices.empty()) {
    for (const Slice& slice : entry.slices) AppendMessage(7, SerializeSlice(slice), &bytes);
    return bytes;
  }
  AppendNonZero(3, entry.file, &bytes);
  AppendNonZero(4, entry.offset, &bytes);
  AppendNonZero(5, entry.size_bytes, &bytes);
  if (const uint32_t crc = MaskCrc(entry.crc); crc != 0) {
    AppendTag(6, WireType::kFixed32, &bytes);
    AppendNumber(crc, &bytes);
  }
  return bytes;
}

}  // namespace autodist
