// CRCs as bundles store them.

#ifndef AUTODIST_TABLES_BYTES_MASKED_CRC_H_
#define AUTODIST_TABLES_BYTES_MASKED_CRC_H_

#include <cstdint>

namespace autodist {

// TensorFlow's crc32c::Mask: a CRC of bytes that hold CRCs is weak, so stored ones are changed.
inline uint32_t MaskCrc(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

inline uint32_t UnmaskCrc(uint32_t masked) {
  const uint32_t rotated = masked - 0xa282ead8u;
  return (rotated >> 17) | (rotated << 15);
}

}  // namespace autodist

#endif  // AUTODIST_TABLES_BYTES_MASKED_CRC_H_
