// The bytes of one entry, read in order through a buffer, and their CRC as the index holds it.
//
// Strings, as stock BundleWriter's WriteStringTensor writes them (TensorFlow 2.21):
//
//   [varint length of each string][masked CRC of the lengths, fixed32][the strings' bytes]
//
// where the CRC takes each length as uint32, or as uint64 above UINT32_MAX. The CRC in the index is
// that of the same lengths, the masked CRC and the bytes. Variants, as WriteVariantTensor writes
// them:
//
//   for each: [varint length][VariantTensorDataProto][masked CRC of everything so far, fixed32]
//
// where the CRC takes lengths as uint64. The CRC of other dtypes is that of the bytes.

#ifndef AUTODIST_TABLES_SUMS_STORED_BYTES_H_
#define AUTODIST_TABLES_SUMS_STORED_BYTES_H_

#include <cstdint>
#include <string>

#include "tables/outcome.h"
#include "tables/table/byte_source.h"

namespace autodist {

enum class Content : uint8_t { kPlain, kStrings, kVariants };

struct StoredRange {
  int64_t offset = 0;
  int64_t size_bytes = 0;
  Content content = Content::kPlain;
  int64_t elements = 0;  // of strings and variants
};

// The CRC of the bytes of `range`, read through `buffer`, whose size is what is read at once.
// Damaged if they do not parse. REQUIRES: the range lies within the source; the buffer is not
// empty.
Outcome SumRange(const ByteSource& source, const StoredRange& range, std::string* buffer,
                 uint32_t* crc);

}  // namespace autodist

#endif  // AUTODIST_TABLES_SUMS_STORED_BYTES_H_
