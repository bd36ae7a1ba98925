// Extends the CRC32C of a tensor of strings or variants by the length of one of them.
// encoded_stream.h has the formats.

#ifndef AUTODIST_FORMAT_VALUES_LENGTH_CRC_H_
#define AUTODIST_FORMAT_VALUES_LENGTH_CRC_H_

#include <cstdint>
#include <limits>

#include "absl/crc/crc32c.h"
#include "absl/strings/string_view.h"

namespace autodist {

// Returns the bytes of a number as they lie in memory.
template <typename Number>
absl::string_view BytesOf(const Number& number) {
  return absl::string_view(reinterpret_cast<const char*>(&number), sizeof(number));
}

// Returns `crc` extended by a string's length. As in TensorFlow, the length has 4 bytes if it fits
// into them, else 8.
inline absl::crc32c_t ExtendByLength(absl::crc32c_t crc, uint64_t length) {
  if (length > std::numeric_limits<uint32_t>::max()) {
    return absl::ExtendCrc32c(crc, BytesOf(length));
  }
  return absl::ExtendCrc32c(crc, BytesOf(static_cast<uint32_t>(length)));
}

}  // namespace autodist

#endif  // AUTODIST_FORMAT_VALUES_LENGTH_CRC_H_
