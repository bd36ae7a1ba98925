// Uncompresses a block that Snappy compressed.
//
//   varint: bytes when uncompressed; then elements, each with a tag byte whose low two bits are
//   0   literal: (tag >> 2) + 1 bytes follow; if tag >> 2 is 60 to 63, that number less one stands
//       in the next 1 to 4 bytes
//   1   copy of 4 to 11 bytes ((tag >> 2 & 7) + 4) from an offset of 11 bits
//   2   copy of 1 to 64 bytes ((tag >> 2) + 1) from an offset of 16 bits
//   3   the same from an offset of 32 bits
//
// An offset counts back from the end of what is uncompressed so far. A copy may overlap itself.

#ifndef AUTODIST_TABLES_TABLE_SNAPPY_H_
#define AUTODIST_TABLES_TABLE_SNAPPY_H_

#include <string>
#include <string_view>

#include "tables/outcome.h"

namespace autodist {

// Damaged if the bytes are not those of a compressed block. It allocates what the compressed bytes
// can stand for: at most 22 times their number.
Outcome Uncompress(std::string_view compressed, std::string* bytes);

}  // namespace autodist

#endif  // AUTODIST_TABLES_TABLE_SNAPPY_H_
