// Checks the data files of a bundle against its index. encoded_stream.h has the formats of strings
// and variants.

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/crc/crc32c.h"
#include "absl/strings/str_cat.h"
#include "core/printable.h"
#include "format/index/bundle_names.h"
#include "format/reader/bundle_reader.h"
#include "format/reader/entry_bytes.h"
#include "format/values/element_type.h"
#include "format/values/length_crc.h"
#include "tables/bytes/masked_crc.h"
#include "tensorflow/core/platform/env.h"

namespace autodist {
namespace {

bool SumStrings(int64_t count, EntryBytes* bytes, absl::crc32c_t* crc) {
  uint64_t total = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint64_t length;
    if (!bytes->TakeVarint(&length) || length > static_cast<uint64_t>(bytes->remaining())) {
      return false;
    }
    *crc = ExtendByLength(*crc, length);
    total += length;
  }
  return static_cast<uint64_t>(bytes->remaining()) == total + sizeof(uint32_t) &&
         bytes->AddTo(bytes->remaining(), crc);
}

bool SumVariants(int64_t count, EntryBytes* bytes, absl::crc32c_t* crc) {
  for (int64_t i = 0; i < count; ++i) {
    uint64_t length;
    if (!bytes->TakeVarint(&length) || length > static_cast<uint64_t>(bytes->remaining())) {
      return false;
    }
    *crc = absl::ExtendCrc32c(*crc, BytesOf(length));
    if (!bytes->AddTo(length, crc) || !bytes->AddTo(sizeof(uint32_t), crc)) return false;
  }
  return bytes->remaining() == 0;
}

// The CRC that the index should have for `entry`; false if its bytes do not parse.
bool SumEntry(const BundleEntry& entry, EntryBytes* bytes, absl::crc32c_t* crc) {
  const int64_t count = CheckedElements(entry.shape).value_or(-1);
  if (count < 0) return false;
  if (entry.dtype == tensorflow::DT_STRING) return SumStrings(count, bytes, crc);
  if (entry.dtype == tensorflow::DT_VARIANT) return SumVariants(count, bytes, crc);
  const int64_t element_bytes = SavedElementBytes(entry.dtype);
  return element_bytes > 0 && entry.size_bytes % element_bytes == 0 &&
         entry.size_bytes / element_bytes == count && bytes->AddTo(entry.size_bytes, crc);
}

absl::Status VerifyEntry(const BundleEntry& entry, const std::string& path,
                         const tsl::RandomAccessFile* file, std::string* buffer) {
  if (entry.offset < 0 || entry.size_bytes < 0 || entry.offset > INT64_MAX - entry.size_bytes) {
    return absl::DataLossError(absl::StrCat(entry.ToString(), ": ", entry.size_bytes, " bytes at ",
                                            entry.offset, " of ", Printable(path),
                                            " are not a range"));
  }
  const std::string where = absl::StrCat(entry.ToString(), ": bytes [", entry.offset, ", ",
                                         entry.offset + entry.size_bytes, ") of ", Printable(path));
  EntryBytes bytes(file, entry, buffer);
  absl::crc32c_t crc{0};
  const bool parses = SumEntry(entry, &bytes, &crc);
  if (!bytes.status().ok()) {
    return absl::Status(bytes.status().code(), absl::StrCat(where, ": ", bytes.status().message()));
  }
  if (!parses) {
    return absl::DataLossError(absl::StrCat(where, " do not hold a ",
                                            tensorflow::DataTypeString(entry.dtype), " of shape ",
                                            DimsToString(entry.shape)));
  }
  if (static_cast<uint32_t>(crc) != entry.crc32c) {
    return absl::DataLossError(absl::StrCat(
        where, " have the CRC ", absl::Hex(static_cast<uint32_t>(crc), absl::kZeroPad8),
        ", written with ", absl::Hex(entry.crc32c, absl::kZeroPad8)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status VerifyBundle(const std::string& prefix) {
  absl::StatusOr<BundleIndex> index = ReadBundleIndex(prefix);
  if (!index.ok()) return index.status();
  std::vector<const BundleEntry*> entries;
  for (const BundleEntry& entry : index->entries) {
    if (!entry.slices.empty()) continue;
    if (entry.shard_id < 0 || entry.shard_id >= index->shard_count) {
      return absl::DataLossError(absl::StrCat(entry.ToString(), " is in data file ", entry.shard_id,
                                              " of ", index->shard_count, " of ",
                                              Printable(prefix)));
    }
    entries.push_back(&entry);
  }
  std::sort(entries.begin(), entries.end(), [](const BundleEntry* a, const BundleEntry* b) {
    return std::make_pair(a->shard_id, a->offset) < std::make_pair(b->shard_id, b->offset);
  });

  std::string buffer(EntryBytes::kBufferBytes, '\0');
  std::string path;
  std::unique_ptr<tsl::RandomAccessFile> file;
  int open_shard = -1;
  for (const BundleEntry* entry : entries) {
    if (entry->shard_id != open_shard) {
      path = DataName(prefix, entry->shard_id, index->shard_count);
      absl::Status status = tsl::Env::Default()->NewRandomAccessFile(path, &file);
      if (!status.ok()) return status;
      open_shard = entry->shard_id;
    }
    absl::Status status = VerifyEntry(*entry, path, file.get(), &buffer);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace autodist
