// Varints: seven bits a byte, lowest first, the high bit set in all but the last.

#ifndef AUTODIST_TABLES_BYTES_VARINT_H_
#define AUTODIST_TABLES_BYTES_VARINT_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace autodist {

// Reads a varint off the front of `bytes`, a std::string_view or another view of chars; false if
// there is none.
template <typename View>
bool TakeVarint(View* bytes, uint64_t* value) {
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

inline void AppendVarint(uint64_t value, std::string* bytes) {
  for (; value >= 0x80; value >>= 7) bytes->push_back(static_cast<char>(value | 0x80));
  bytes->push_back(static_cast<char>(value));
}

}  // namespace autodist

#endif  // AUTODIST_TABLES_BYTES_VARINT_H_
