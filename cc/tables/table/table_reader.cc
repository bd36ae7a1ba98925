// Reads TensorFlow's sorted tables. The header has the format.

#include "tables/table/table_reader.h"

#include <cstdint>

#include "tables/table/blocks.h"

namespace autodist {
Outcome ReadTable(const ByteSource& source, const TableVisit& visit) {
  return ReadTableFrom(source, "", visit);
}

Outcome ReadTableFrom(const ByteSource& source, std::string_view first_key,
                      const TableVisit& visit) {
  BlockHandle index_handle;
  Outcome outcome = ReadFooter(source, &index_handle);
  if (!outcome.is_good()) return outcome;
  std::string index;
  outcome = ReadBlock(source, index_handle, &index);
  if (!outcome.is_good()) return outcome;
  // Each block is visited once, or a few bytes could stand for any number of entries.
  uint64_t end = 0;
  std::string last_key, block;
  bool has_key = false;
  const auto visit_in_order = [&](const std::string& key, std::string_view value) {
    if (has_key && key <= last_key) {
      return Outcome::Damaged("its keys are not in ascending order");
    }
    has_key = true;
    last_key = key;
    return visit(key, value);
  };
  return VisitBlock(index, [&](const std::string& separator, std::string_view value) {
    BlockHandle handle;
    if (!TakeHandle(&value, &handle)) {
      return Outcome::Damaged("where a block lies cannot be read");
    }
    if (separator < first_key) return Outcome::Good();
    Outcome read = ReadBlock(source, handle, &block);
    if (!read.is_good()) return read;
    if (handle.offset < end) return Outcome::Damaged("its blocks are not in ascending order");
    end = handle.offset + handle.size_bytes + kBlockTrailerBytes;
    return VisitBlock(block, visit_in_order);
  });
}

}  // namespace autodist
