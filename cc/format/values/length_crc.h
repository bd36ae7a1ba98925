// The part of a CRC32C that stands for the length of a string or variant; encoded_stream.h has the
// formats.

#ifndef AUTODIST_FORMAT_VALUES_LENGTH_CRC_H_
#define AUTODIST_FORMAT_VALUES_LENGTH_CRC_H_

#include <cstdint>
#include <limits>

#include "absl/crc/crc32c.h"
#include "absl/strings/string_view.h"

namespace autodist {

// The bytes of a number as they are in memory.
template <typename Number>
absl::string_view BytesOf(const Number& number) {
  return absl::string_view(reinterpret_cast<const char*>(&number), sizeof(number));
}

// `crc` extended by a string's length, as TensorFlow sums it.
inline absl::crc32c_t ExtendByLength(absl::crc32c_t crc, uint64_t length) {
  if (length > std::numeric_limits<uint32_t>::max()) {
    return absl::ExtendCrc32c(crc, BytesOf(length));
  }
  return absl::ExtendCrc32c(crc, BytesOf(static_cast<uint32_t>(length)));
}

}  // namespace autodist

#endif  // AUTODIST_FORMAT_VALUES_LENGTH_CRC_H_
