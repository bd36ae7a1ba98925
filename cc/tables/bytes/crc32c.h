// CRC32C without TensorFlow and absl: by folding (crc_folding.h), the processor's instruction, or
// tables.

#ifndef AUTODIST_TABLES_BYTES_CRC32C_H_
#define AUTODIST_TABLES_BYTES_CRC32C_H_

#include <cstdint>
#include <string_view>

namespace autodist {

// The CRC of what has the CRC `crc`, followed by `bytes`. 0 is the CRC of nothing.
uint32_t ExtendCrc(uint32_t crc, std::string_view bytes);

inline uint32_t CrcOf(std::string_view bytes) { return ExtendCrc(0, bytes); }

// The CRC of two runs of bytes, one after the other, from the CRC of each; the second has `size`
// bytes.
uint32_t ConcatCrc(uint32_t first, uint32_t second, uint64_t size);

// The same as ExtendCrc on a processor that has neither folding nor the instruction; for tests.
uint32_t ExtendCrcByTables(uint32_t crc, std::string_view bytes);

}  // namespace autodist

#endif  // AUTODIST_TABLES_BYTES_CRC32C_H_
