// The blocks of a sorted table. table_reader.h has the format.

#include "tables/table/blocks.h"

#include <new>
#include <utility>

#include "tables/bytes/crc32c.h"
#include "tables/bytes/little_endian.h"
#include "tables/bytes/masked_crc.h"
#include "tables/bytes/varint.h"
#include "tables/table/snappy.h"

namespace autodist {
namespace {

constexpr uint64_t kMagic = 0xdb4775248b80fb57;
constexpr char kUncompressed = 0;
constexpr char kSnappy = 1;
// In TensorFlow's tables at least every sixteenth key is stored in full. So all keys of a block
// take at most sixteen times its bytes. This limit leaves room for other writers.
constexpr uint64_t kMostKeyBytesPerByte = 64;

Outcome ReadBytes(const ByteSource& source, uint64_t offset, uint64_t size, std::string* bytes) {
  try {
    bytes->resize(size);
  } catch (const std::bad_alloc&) {
    return Outcome::NoMemory("no memory for " + std::to_string(size) + " bytes");
  }
  return source.Read(offset, size, bytes->data());
}

}  // namespace

bool TakeHandle(std::string_view* bytes, BlockHandle* handle) {
  return TakeVarint(bytes, &handle->offset) && TakeVarint(bytes, &handle->size_bytes);
}

Outcome ReadFooter(const ByteSource& source, BlockHandle* index) {
  const uint64_t size_bytes = source.size_bytes();
  if (size_bytes < kTableFooterBytes) {
    return Outcome::Damaged("too short to be the index of a checkpoint");
  }
  std::string footer;
  Outcome outcome = ReadBytes(source, size_bytes - kTableFooterBytes, kTableFooterBytes, &footer);
  if (!outcome.is_good()) return outcome;
  if (LittleEndian<uint64_t>(footer.data() + kTableFooterBytes - 8) != kMagic) {
    return Outcome::Damaged("not the index of a checkpoint: it does not end with the magic number");
  }
  std::string_view handles = std::string_view(footer).substr(0, kTableFooterBytes - 8);
  BlockHandle meta_index;
  if (!TakeHandle(&handles, &meta_index) || !TakeHandle(&handles, index)) {
    return Outcome::Damaged("its footer cannot be read");
  }
  return Outcome::Good();
}

Outcome ReadBlock(const ByteSource& source, const BlockHandle& handle, std::string* block) {
  const uint64_t limit = source.size_bytes() - kTableFooterBytes;
  if (handle.offset > limit || limit - handle.offset < kBlockTrailerBytes ||
      handle.size_bytes > limit - handle.offset - kBlockTrailerBytes) {
    return Outcome::Damaged("a block of " + std::to_string(handle.size_bytes) + " bytes at " +
                            std::to_string(handle.offset) + " lies outside of its " +
                            std::to_string(source.size_bytes()) + " bytes");
  }
  Outcome outcome = ReadBytes(source, handle.offset, handle.size_bytes + kBlockTrailerBytes, block);
  if (!outcome.is_good()) return outcome;
  const char* const trailer = block->data() + handle.size_bytes;
  const uint32_t crc = UnmaskCrc(LittleEndian<uint32_t>(trailer + 1));
  if (CrcOf({block->data(), handle.size_bytes + 1}) != crc) {
    return Outcome::Damaged("the bytes [" + std::to_string(handle.offset) + ", " +
                            std::to_string(handle.offset + handle.size_bytes) +
                            ") are not those that were written");
  }
  const char kind = *trailer;
  block->resize(handle.size_bytes);
  if (kind == kUncompressed) return Outcome::Good();
  if (kind != kSnappy) {
    return Outcome::Damaged("a block is compressed in a way that is not supported");
  }
  std::string compressed = std::move(*block);
  return Uncompress(compressed, block);
}

Outcome VisitBlock(std::string_view block, const TableVisit& visit) {
  if (block.size() < 4) return Outcome::Damaged("a block is too short");
  const uint64_t restarts = LittleEndian<uint32_t>(block.data() + block.size() - 4);
  if (restarts > (block.size() - 4) / 4) {
    return Outcome::Damaged("a block's restart points do not fit");
  }
  uint64_t key_bytes = kMostKeyBytesPerByte * block.size();
  block.remove_suffix(4 * (restarts + 1));
  std::string key;
  while (!block.empty()) {
    uint64_t shared, rest, value_bytes;
    if (!TakeVarint(&block, &shared) || !TakeVarint(&block, &rest) ||
        !TakeVarint(&block, &value_bytes) || shared > key.size() || rest > block.size() ||
        value_bytes > block.size() - rest) {
      return Outcome::Damaged("an entry's lengths do not fit its block");
    }
    key.resize(shared);
    key.append(block.data(), rest);
    if (key.size() > key_bytes) return Outcome::Damaged("its keys are far longer than its bytes");
    key_bytes -= key.size();
    Outcome outcome = visit(key, block.substr(rest, value_bytes));
    if (!outcome.is_good()) return outcome;
    block.remove_prefix(rest + value_bytes);
  }
  return Outcome::Good();
}

}  // namespace autodist
