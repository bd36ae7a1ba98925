// Tables made byte by byte, so that they can be wrong while their sums are right.

#ifndef AUTODIST_FORMAT_INDEX_TESTING_TABLE_H_
#define AUTODIST_FORMAT_INDEX_TESTING_TABLE_H_

#include <cstdint>
#include <cstring>
#include <string>

#include "absl/crc/crc32c.h"
#include "absl/strings/string_view.h"
#include "format/index/masked_crc.h"

namespace autodist::testing {

inline void AppendVarint(uint64_t value, std::string* bytes) {
  for (; value >= 0x80; value >>= 7) bytes->push_back(static_cast<char>(value | 0x80));
  bytes->push_back(static_cast<char>(value));
}

template <typename Number>
void AppendNumber(Number number, std::string* bytes) {
  char raw[sizeof(number)];
  std::memcpy(raw, &number, sizeof(number));
  bytes->append(raw, sizeof(raw));
}

// An entry of a block; `shared` bytes of its key are those of the key before.
inline std::string TableEntry(uint64_t shared, absl::string_view rest, absl::string_view value) {
  std::string entry;
  AppendVarint(shared, &entry);
  AppendVarint(rest.size(), &entry);
  AppendVarint(value.size(), &entry);
  entry.append(rest.data(), rest.size());
  entry.append(value.data(), value.size());
  return entry;
}

inline std::string Handle(uint64_t offset, uint64_t size_bytes) {
  std::string handle;
  AppendVarint(offset, &handle);
  AppendVarint(size_bytes, &handle);
  return handle;
}

// A table that is written front to back.
class TableBytes {
 public:
  // Adds a block of these entries with its kind and sum; returns its handle.
  std::string AddBlock(std::string entries, uint32_t restarts = 1, char kind = '\0') {
    for (uint32_t i = 0; i < restarts && i < 4; ++i) AppendNumber(uint32_t{0}, &entries);
    AppendNumber(restarts, &entries);
    const std::string handle = Handle(bytes_.size(), entries.size());
    entries.push_back(kind);
    const uint32_t crc = static_cast<uint32_t>(absl::ComputeCrc32c(entries));
    AppendNumber(MaskCrc(crc), &entries);
    bytes_ += entries;
    return handle;
  }

  // The table, whose footer holds `index_handle`.
  std::string Finish(const std::string& index_handle) const {
    std::string footer = Handle(0, 0) + index_handle;
    footer.resize(40, '\0');
    AppendNumber(uint64_t{0xdb4775248b80fb57}, &footer);
    return bytes_ + footer;
  }

 private:
  std::string bytes_;
};

}  // namespace autodist::testing

#endif  // AUTODIST_FORMAT_INDEX_TESTING_TABLE_H_
