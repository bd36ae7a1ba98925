// Makes text from elsewhere (names, paths) safe to print: escapes what a terminal would obey.
//
//   "m\x1b[2J"   as   "m\\x1b[2J"

#ifndef AUTODIST_CORE_PRINTABLE_H_
#define AUTODIST_CORE_PRINTABLE_H_

#include <cstdio>
#include <string>
#include <string_view>

namespace autodist {

// Escapes control characters, those of two bytes in UTF-8 too. Other characters, of any alphabet,
// stay.
inline std::string Printable(std::string_view text) {
  const auto at = [text](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  std::string printable;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_two_byte_control = at(i) == 0xC2 && at(i + 1) >= 0x80 && at(i + 1) < 0xA0;
    if (at(i) >= 0x20 && at(i) != 0x7F && !is_two_byte_control) {
      printable.push_back(text[i]);
      continue;
    }
    for (int bytes = is_two_byte_control ? 2 : 1; bytes > 0; --bytes) {
      char escaped[5];
      std::snprintf(escaped, sizeof(escaped), "\\x%02x", at(i));
      printable += escaped;
      i += bytes > 1;
    }
  }
  return printable;
}

}  // namespace autodist

#endif  // AUTODIST_CORE_PRINTABLE_H_
