// Tables made byte by byte, so that they can be wrong while their sums are right.

#ifndef AUTODIST_TABLES_TABLE_TESTING_TABLE_H_
#define AUTODIST_TABLES_TABLE_TESTING_TABLE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "tables/bytes/crc32c.h"
#include "tables/bytes/little_endian.h"
#include "tables/bytes/masked_crc.h"
#include "tables/bytes/varint.h"

namespace autodist::testing {

// An entry of a block; `shared` bytes of its key are those of the key before.
inline std::string TableEntry(uint64_t shared, std::string_view rest, std::string_view value) {
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
    AppendNumber(MaskCrc(CrcOf(entries)), &entries);
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

#endif  // AUTODIST_TABLES_TABLE_TESTING_TABLE_H_
