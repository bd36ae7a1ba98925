// The bytes of a checkpoint's index file, as stock BundleWriter and MergeBundles write them
// (TensorFlow 2.21).

#ifndef AUTODIST_TABLES_WRITING_INDEX_WRITER_H_
#define AUTODIST_TABLES_WRITING_INDEX_WRITER_H_

#include <string>
#include <vector>

#include "tables/bundle/bundle_index.h"

namespace autodist {

// The index of a checkpoint of so many data files, with the entries of variables and of slices in
// any order. `slice_entries` are not read. Unsupported if two entries have one key.
Outcome BuildIndex(int file_count, const std::vector<StoredEntry>& entries, std::string* bytes);

// The value of the key "" of an index of so many data files, a BundleHeaderProto.
std::string SerializeHeader(int file_count);

// The value of an entry, a BundleEntryProto. An entry that lists slices has no range and no CRC.
std::string SerializeEntry(const StoredEntry& entry);

}  // namespace autodist

#endif  // AUTODIST_TABLES_WRITING_INDEX_WRITER_H_
