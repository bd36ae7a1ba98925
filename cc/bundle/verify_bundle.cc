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
#include "bundle/bundle_reader.h"
#include "bundle/copy_and_sum.h"
#include "bundle/element_type.h"
#include "bundle/masked_crc.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/util/tensor_bundle/naming.h"

namespace autodist {
namespace {

constexpr int64_t kBufferBytes = int64_t{1} << 20;

// The bytes of one entry, read in order.
class EntryBytes {
 public:
  EntryBytes(const tsl::RandomAccessFile* file, const BundleEntry& entry, std::string* buffer)
      : file_(*file),
        position_(entry.offset),
        end_(entry.offset + entry.size_bytes),
        buffer_(*buffer) {}

  int64_t remaining() const { return end_ - position_ + static_cast<int64_t>(chunk_.size()); }

  // Takes the next bytes, at least one and at most `most`; empty where there are none or they
  // cannot be read, which status() tells.
  absl::string_view Take(int64_t most) {
    if (chunk_.empty()) Refill();
    const absl::string_view bytes = chunk_.substr(0, most);
    chunk_.remove_prefix(bytes.size());
    return bytes;
  }

  // Adds the next `count` bytes to `crc`; false if there are fewer.
  bool AddTo(int64_t count, absl::crc32c_t* crc) {
    while (count > 0) {
      const absl::string_view bytes = Take(count);
      if (bytes.empty()) return false;
      *crc = absl::ConcatCrc32c(*crc, Sum(bytes.data(), bytes.size()), bytes.size());
      count -= bytes.size();
    }
    return true;
  }

  bool TakeVarint(uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const absl::string_view byte = Take(1);
      if (byte.empty()) return false;
      *value |= static_cast<uint64_t>(byte[0] & 0x7f) << shift;
      if ((byte[0] & 0x80) == 0) return true;
    }
    return false;
  }

  const absl::Status& status() const { return status_; }

 private:
  void Refill() {
    const int64_t size = std::min(kBufferBytes, end_ - position_);
    if (size <= 0 || !status_.ok()) return;
    status_ = file_.Read(position_, chunk_, absl::MakeSpan(buffer_.data(), size));
    // The status of a read past the end is OutOfRange; that the bytes are missing is for the caller
    // to say.
    if (absl::IsOutOfRange(status_)) status_ = absl::OkStatus();
    position_ = chunk_.empty() ? end_ : position_ + static_cast<int64_t>(chunk_.size());
  }

  const tsl::RandomAccessFile& file_;
  int64_t position_;
  const int64_t end_;
  std::string& buffer_;
  absl::string_view chunk_;
  absl::Status status_;
};

template <typename Number>
void SumNumber(Number number, absl::crc32c_t* crc) {
  *crc = absl::ExtendCrc32c(
      *crc, absl::string_view(reinterpret_cast<const char*>(&number), sizeof(number)));
}

bool SumStrings(int64_t count, EntryBytes* bytes, absl::crc32c_t* crc) {
  uint64_t total = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint64_t length;
    if (!bytes->TakeVarint(&length) || length > static_cast<uint64_t>(bytes->remaining())) {
      return false;
    }
    if (length > UINT32_MAX) {
      SumNumber(length, crc);
    } else {
      SumNumber(static_cast<uint32_t>(length), crc);
    }
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
    SumNumber(length, crc);
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

std::string Describe(const BundleEntry& entry) {
  return entry.slice.empty() ? absl::StrCat("tensor '", entry.name, "'")
                             : absl::StrCat("tensor '", entry.name, "', slice ", entry.slice);
}

absl::Status VerifyEntry(const BundleEntry& entry, const std::string& path,
                         const tsl::RandomAccessFile* file, std::string* buffer) {
  const std::string where = absl::StrCat(Describe(entry), ": bytes [", entry.offset, ", ",
                                         entry.offset + entry.size_bytes, ") of ", path);
  if (entry.offset < 0 || entry.size_bytes < 0) {
    return absl::DataLossError(absl::StrCat(where, " are not a range"));
  }
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
      return absl::DataLossError(absl::StrCat(Describe(entry), " is in data file ", entry.shard_id,
                                              " of ", index->shard_count, " of ", prefix));
    }
    entries.push_back(&entry);
  }
  std::sort(entries.begin(), entries.end(), [](const BundleEntry* a, const BundleEntry* b) {
    return std::make_pair(a->shard_id, a->offset) < std::make_pair(b->shard_id, b->offset);
  });

  std::string buffer(kBufferBytes, '\0');
  std::string path;
  std::unique_ptr<tsl::RandomAccessFile> file;
  int open_shard = -1;
  for (const BundleEntry* entry : entries) {
    if (entry->shard_id != open_shard) {
      path = tensorflow::DataFilename(prefix, entry->shard_id, index->shard_count);
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
