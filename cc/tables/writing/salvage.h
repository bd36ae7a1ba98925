// What can be read of an index that is damaged.
//
// A block whose CRC is right is sound, and so are its rows. Where the blocks lie is read from the
// index block. If that or the footer is damaged, blocks are searched for from the front: one ends
// where a CRC fits what is before it, and the next one follows. So what comes after a damaged block
// is lost then, but not otherwise.

#ifndef AUTODIST_TABLES_WRITING_SALVAGE_H_
#define AUTODIST_TABLES_WRITING_SALVAGE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tables/outcome.h"
#include "tables/table/byte_source.h"

namespace autodist {

struct Salvage {
  // The bytes of an index of the rows that are sound. A variable is left out if the row of one of
  // its slices is, and so is a slice whose variable is.
  std::string index;
  int32_t file_count = 0;  // of the header; 0 if that is lost: then `index` has the least possible
  int64_t variables = 0;
  std::vector<std::string> incomplete;              // variables of which only a part was read
  std::vector<std::pair<uint64_t, uint64_t>> lost;  // ranges of bytes that are no sound block
};

// Damaged if no row can be read.
Outcome SalvageIndex(const ByteSource& source, Salvage* salvage);

}  // namespace autodist

#endif  // AUTODIST_TABLES_WRITING_SALVAGE_H_
