// Reads TensorFlow's sorted tables, the format of a checkpoint's index. The header has the format.

#include "format/index/table_reader.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "absl/crc/crc32c.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/printable.h"
#include "format/index/masked_crc.h"
#include "format/index/varint.h"
#include "tensorflow/core/platform/env.h"

namespace autodist {
namespace {

constexpr int64_t kFooterBytes = 48;
constexpr uint64_t kMagic = 0xdb4775248b80fb57;
constexpr int64_t kTrailerBytes = 5;  // of a block: its kind and its CRC
constexpr char kUncompressed = 0;
// In TensorFlow's tables at least every sixteenth key is stored in full. So all keys of a block
// take at most sixteen times its bytes. This limit leaves room for other writers.
constexpr uint64_t kMostKeyBytesPerByte = 64;

absl::Status Damaged(absl::string_view problem) { return absl::DataLossError(problem); }

template <typename Number>
Number LittleEndian(const char* bytes) {
  Number number;
  std::memcpy(&number, bytes, sizeof(number));
  return number;
}

struct Handle {
  uint64_t offset;
  uint64_t size_bytes;
};

bool TakeHandle(absl::string_view* bytes, Handle* handle) {
  return TakeVarint(bytes, &handle->offset) && TakeVarint(bytes, &handle->size_bytes);
}

class TableFile {
 public:
  static absl::StatusOr<TableFile> Open(const std::string& path) {
    TableFile table;
    tsl::Env* env = tsl::Env::Default();
    uint64_t size_bytes = 0;
    absl::Status status = env->GetFileSize(path, &size_bytes);
    if (status.ok()) status = env->NewRandomAccessFile(path, &table.file_);
    if (!status.ok()) return status;
    table.size_bytes_ = size_bytes;
    return table;
  }

  absl::StatusOr<Handle> ReadFooter() const {
    if (size_bytes_ < kFooterBytes) return Damaged("too short to be the index of a checkpoint");
    std::string footer;
    absl::Status status = Read(size_bytes_ - kFooterBytes, kFooterBytes, &footer);
    if (!status.ok()) return status;
    if (LittleEndian<uint64_t>(footer.data() + kFooterBytes - 8) != kMagic) {
      return Damaged("not the index of a checkpoint: it does not end with the magic number");
    }
    absl::string_view handles = absl::string_view(footer).substr(0, kFooterBytes - 8);
    Handle meta_index, index;
    if (!TakeHandle(&handles, &meta_index) || !TakeHandle(&handles, &index)) {
      return Damaged("its footer cannot be read");
    }
    return index;
  }

  // The entries and restart points of a block.
  absl::StatusOr<std::string> ReadBlock(const Handle& handle) const {
    const uint64_t limit = size_bytes_ - kFooterBytes;
    if (handle.offset > limit || limit - handle.offset < kTrailerBytes ||
        handle.size_bytes > limit - handle.offset - kTrailerBytes) {
      return Damaged(absl::StrCat("a block of ", handle.size_bytes, " bytes at ", handle.offset,
                                  " lies outside of its ", size_bytes_, " bytes"));
    }
    std::string block;
    absl::Status status = Read(handle.offset, handle.size_bytes + kTrailerBytes, &block);
    if (!status.ok()) return status;
    const char* trailer = block.data() + handle.size_bytes;
    const uint32_t crc = UnmaskCrc(LittleEndian<uint32_t>(trailer + 1));
    const absl::string_view summed(block.data(), handle.size_bytes + 1);
    if (static_cast<uint32_t>(absl::ComputeCrc32c(summed)) != crc) {
      return Damaged(absl::StrCat("the bytes [", handle.offset, ", ",
                                  handle.offset + handle.size_bytes,
                                  ") are not those that were written"));
    }
    if (*trailer != kUncompressed) return Damaged("a block is compressed, which is not supported");
    block.resize(handle.size_bytes);
    return block;
  }

 private:
  absl::Status Read(uint64_t offset, uint64_t size, std::string* bytes) const {
    try {
      bytes->resize(size);
    } catch (const std::bad_alloc&) {
      return absl::ResourceExhaustedError(absl::StrCat("no memory for ", size, " bytes"));
    }
    absl::string_view result;
    absl::Status status = file_->Read(offset, result, absl::MakeSpan(bytes->data(), size));
    if (!status.ok() && !absl::IsOutOfRange(status)) return status;
    if (result.size() != size) return Damaged("it ends early");
    if (result.data() != bytes->data()) std::memmove(bytes->data(), result.data(), size);
    return absl::OkStatus();
  }

  std::unique_ptr<tsl::RandomAccessFile> file_;
  int64_t size_bytes_ = 0;
};

absl::Status VisitBlock(
    absl::string_view block,
    const std::function<absl::Status(const std::string&, absl::string_view)>& visit) {
  if (block.size() < 4) return Damaged("a block is too short");
  const uint64_t restarts = LittleEndian<uint32_t>(block.data() + block.size() - 4);
  if (restarts > (block.size() - 4) / 4) return Damaged("a block's restart points do not fit");
  uint64_t key_bytes = kMostKeyBytesPerByte * block.size();
  block.remove_suffix(4 * (restarts + 1));
  std::string key;
  while (!block.empty()) {
    uint64_t shared, rest, value_bytes;
    if (!TakeVarint(&block, &shared) || !TakeVarint(&block, &rest) ||
        !TakeVarint(&block, &value_bytes) || shared > key.size() || rest > block.size() ||
        value_bytes > block.size() - rest) {
      return Damaged("an entry's lengths do not fit its block");
    }
    key.resize(shared);
    key.append(block.data(), rest);
    if (key.size() > key_bytes) return Damaged("its keys are far longer than its bytes");
    key_bytes -= key.size();
    absl::Status status = visit(key, block.substr(rest, value_bytes));
    if (!status.ok()) return status;
    block.remove_prefix(rest + value_bytes);
  }
  return absl::OkStatus();
}

absl::Status VisitTable(
    const TableFile& table,
    const std::function<absl::Status(const std::string&, absl::string_view)>& visit) {
  absl::StatusOr<Handle> index_handle = table.ReadFooter();
  if (!index_handle.ok()) return index_handle.status();
  absl::StatusOr<std::string> index = table.ReadBlock(*index_handle);
  if (!index.ok()) return index.status();
  // Each block is visited once, or a few bytes could stand for any number of entries.
  uint64_t end = 0;
  std::string last_key;
  bool has_key = false;
  const auto visit_in_order = [&](const std::string& key, absl::string_view value) {
    if (has_key && key <= last_key) return Damaged("its keys are not in ascending order");
    has_key = true;
    last_key = key;
    return visit(key, value);
  };
  return VisitBlock(*index, [&](const std::string&, absl::string_view value) {
    Handle handle;
    if (!TakeHandle(&value, &handle)) return Damaged("where a block lies cannot be read");
    absl::StatusOr<std::string> block = table.ReadBlock(handle);
    if (!block.ok()) return block.status();
    if (handle.offset < end) return Damaged("its blocks are not in ascending order");
    end = handle.offset + handle.size_bytes + kTrailerBytes;
    return VisitBlock(*block, visit_in_order);
  });
}

}  // namespace

absl::Status ReadTable(
    const std::string& path,
    const std::function<absl::Status(const std::string& key, absl::string_view value)>& visit) {
  absl::StatusOr<TableFile> table = TableFile::Open(path);
  if (!table.ok()) return table.status();
  const absl::Status status = VisitTable(*table, visit);
  if (status.ok() || !absl::IsDataLoss(status)) return status;
  return absl::DataLossError(absl::StrCat(Printable(path), ": ", status.message()));
}

}  // namespace autodist
