// The CRC32C of large memory by carry-less multiplication, where the processor has it for 64 bytes
// at once (VPCLMULQDQ and AVX-512).
//
// A CRC is the remainder of a division of polynomials. Folding replaces 16 bytes by 16 others
// further on that leave the same remainder: two multiplications with constants, then an XOR with
// what is there. So 256 bytes move along the memory, in four registers. The CRC instruction
// (copy_and_sum.h) ends it. It takes 8 bytes a cycle; folding takes 32.

#ifndef AUTODIST_TABLES_BYTES_CRC_FOLDING_H_
#define AUTODIST_TABLES_BYTES_CRC_FOLDING_H_

#include <cstdint>

namespace autodist {

// Bytes that are folded at once.
inline constexpr int64_t kFoldBytes = 256;

// Whether this processor folds.
bool CanFold();

// The state of the CRC instruction after `size` bytes more; it begins with 0xffffffff, and the CRC
// is its complement. REQUIRES: CanFold(); size is a multiple of kFoldBytes and not 0.
uint32_t ExtendByFolding(uint32_t state, const char* bytes, int64_t size);

}  // namespace autodist

#endif  // AUTODIST_TABLES_BYTES_CRC_FOLDING_H_
