// Varints: seven bits a byte, lowest first, the high bit set in all but the last.

#ifndef AUTODIST_FORMAT_INDEX_VARINT_H_
#define AUTODIST_FORMAT_INDEX_VARINT_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace autodist {

// Reads a varint off the front of `bytes`; false if there is none.
inline bool TakeVarint(absl::string_view* bytes, uint64_t* value) {
  *value = 0;
  for (size_t i = 0; i < bytes->size() && i < 10; ++i) {
    const uint64_t byte = static_cast<unsigned char>((*bytes)[i]);
    *value |= (byte & 0x7f) << (7 * i);
    if ((byte & 0x80) == 0) {
      bytes->remove_prefix(i + 1);
      return true;
    }
  }
  return false;
}

}  // namespace autodist

#endif  // AUTODIST_FORMAT_INDEX_VARINT_H_
