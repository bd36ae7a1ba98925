// Numbers as the files hold them, lowest byte first.

#ifndef AUTODIST_TABLES_BYTES_LITTLE_ENDIAN_H_
#define AUTODIST_TABLES_BYTES_LITTLE_ENDIAN_H_

#include <cstring>
#include <string>

namespace autodist {

// REQUIRES: the machine is little-endian, as all that TensorFlow is built for.
template <typename Number>
Number LittleEndian(const char* bytes) {
  Number number;
  std::memcpy(&number, bytes, sizeof(number));
  return number;
}

template <typename Number>
void AppendNumber(Number number, std::string* bytes) {
  char raw[sizeof(number)];
  std::memcpy(raw, &number, sizeof(number));
  bytes->append(raw, sizeof(raw));
}

}  // namespace autodist

#endif  // AUTODIST_TABLES_BYTES_LITTLE_ENDIAN_H_
