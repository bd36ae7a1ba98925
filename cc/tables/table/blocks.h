// The blocks of a sorted table. table_reader.h has the format.

#ifndef AUTODIST_TABLES_TABLE_BLOCKS_H_
#define AUTODIST_TABLES_TABLE_BLOCKS_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "tables/outcome.h"
#include "tables/table/byte_source.h"
#include "tables/table/table_reader.h"

namespace autodist {

inline constexpr uint64_t kTableFooterBytes = 48;
inline constexpr uint64_t kBlockTrailerBytes = 5;  // its kind and its CRC

// Where a block lies, without its trailer.
struct BlockHandle {
  uint64_t offset;
  uint64_t size_bytes;
};

// Reads a handle off the front of `bytes`; false if there is none.
bool TakeHandle(std::string_view* bytes, BlockHandle* handle);

// Where the index block lies.
Outcome ReadFooter(const ByteSource& source, BlockHandle* index);

// The entries and restart points of a block, whose CRC is right.
Outcome ReadBlock(const ByteSource& source, const BlockHandle& handle, std::string* block);

// Calls visit(key, value) for every entry of a block, until one is not good.
Outcome VisitBlock(std::string_view block, const TableVisit& visit);

}  // namespace autodist

#endif  // AUTODIST_TABLES_TABLE_BLOCKS_H_
