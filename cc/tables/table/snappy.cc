// Uncompresses a block that Snappy compressed. The header has the format.

#include "tables/table/snappy.h"

#include <cstdint>
#include <cstring>
#include <new>

#include "tables/bytes/varint.h"

namespace autodist {
namespace {

// The shortest copy of 64 bytes has three.
constexpr uint64_t kMostBytesPerByte = 22;

Outcome Broken() { return Outcome::Damaged("a compressed block cannot be uncompressed"); }

// Reads a number of `count` bytes off the front; false if there are fewer.
bool TakeNumber(std::string_view* bytes, size_t count, uint64_t* number) {
  if (bytes->size() < count) return false;
  *number = 0;
  for (size_t i = 0; i < count; ++i) {
    *number |= uint64_t{static_cast<unsigned char>((*bytes)[i])} << (8 * i);
  }
  bytes->remove_prefix(count);
  return true;
}

}  // namespace

Outcome Uncompress(std::string_view compressed, std::string* bytes) {
  uint64_t size;
  if (!TakeVarint(&compressed, &size) || size > kMostBytesPerByte * compressed.size()) {
    return Broken();
  }
  try {
    bytes->resize(size);
  } catch (const std::bad_alloc&) {
    return Outcome::NoMemory("no memory for " + std::to_string(size) + " bytes");
  }
  char* const out = bytes->data();
  uint64_t done = 0, tag = 0;
  while (TakeNumber(&compressed, 1, &tag)) {
    uint64_t length = (tag >> 2) + 1, offset = 0;
    switch (tag & 3) {
      case 0:
        if (length > 60) {
          if (!TakeNumber(&compressed, length - 60, &length)) return Broken();
          ++length;
        }
        if (length > compressed.size() || length > size - done) return Broken();
        std::memcpy(out + done, compressed.data(), length);
        compressed.remove_prefix(length);
        done += length;
        continue;
      case 1:
        length = ((tag >> 2) & 7) + 4;
        if (!TakeNumber(&compressed, 1, &offset)) return Broken();
        offset |= (tag >> 5) << 8;
        break;
      default:
        if (!TakeNumber(&compressed, (tag & 3) == 2 ? 2 : 4, &offset)) return Broken();
    }
    if (offset == 0 || offset > done || length > size - done) return Broken();
    // Byte by byte: the copy may take what it has just written.
    for (; length > 0; --length, ++done) out[done] = out[done - offset];
  }
  return done == size ? Outcome::Good() : Broken();
}

}  // namespace autodist
