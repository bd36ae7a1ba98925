// What the index of a checkpoint says (V2, "bundle"; tensor_bundle.proto of TensorFlow 2.21).
//
//   key ""      BundleHeaderProto: how many data files there are
//   key name    BundleEntryProto of a variable: dtype, shape, where its bytes lie, their CRC; or,
//               of one stored in slices, where the slices lie and no bytes
//   key 0x00... BundleEntryProto of one slice; slice.h has the key

#ifndef AUTODIST_TABLES_BUNDLE_BUNDLE_INDEX_H_
#define AUTODIST_TABLES_BUNDLE_BUNDLE_INDEX_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/boxes/box.h"
#include "tables/bundle/slice.h"
#include "tables/outcome.h"
#include "tables/table/byte_source.h"

namespace autodist {

struct StoredEntry {
  std::string name;  // of the variable, also for a slice of it
  bool is_slice = false;
  Slice slice;  // of the entry of a slice
  int32_t dtype = 0;
  Dims shape;                          // of the variable, or of the slice
  std::vector<Slice> slices;           // where the entry only lists them
  std::vector<int64_t> slice_entries;  // the number of each in the index
  int32_t file = 0;                    // the number of its data file
  int64_t offset = 0;
  int64_t size_bytes = 0;
  uint32_t crc = 0;  // unmasked
};

struct StoredIndex {
  int32_t file_count = 0;
  std::vector<StoredEntry> entries;  // in the order of the index
  int64_t unlisted_slices = 0;       // entries of slices that no variable lists; left out
};

// Damaged, with a text that names no file, if the source is not an index or contradicts itself.
Outcome ReadStoredIndex(const ByteSource& source, StoredIndex* index);

// Read one row: the value of the key "", or of another key; the key itself says the rest. Damaged
// or Unsupported, with a text that names neither file nor key, if it is none.
Outcome ParseStoredHeader(std::string_view message, int32_t* file_count);
Outcome ParseStoredEntry(std::string_view message, StoredEntry* entry);

// What is wrong with entry `number` beside what the data files hold: a dtype that cannot be stored,
// a size that does not fit its shape, a range that is none, a data file that the header does not
// count; for a variable in slices, slices that do not make up all of it. Empty if all is well.
std::string CheckEntry(const StoredIndex& index, size_t number);

}  // namespace autodist

#endif  // AUTODIST_TABLES_BUNDLE_BUNDLE_INDEX_H_
