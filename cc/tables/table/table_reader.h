// Reads TensorFlow's sorted tables: the index of a checkpoint, and each file of the V1 format.
//
//   [data block]... [meta index block] [index block] [footer]
//   block    entries, restart points, their number; then its kind (1 byte) and its masked CRC
//   entry    varints: bytes shared with the key before, bytes that are not, bytes of the value;
//            then the rest of the key and the value
//   footer   48 bytes: where the meta index and the index lie (varints), padding, a magic number
//
// The index block has an entry for each data block: a key that is not less than those of the block,
// and where the block lies. Stock TensorFlow compresses no block of a checkpoint; its reader would
// take blocks compressed by Snappy (snappy.h), and so does this one.
//
// TensorFlow's own reader trusts the sizes it finds: a malicious file makes it allocate any amount.
// This reader allocates only what the file holds, and checks every length. Keys and blocks must
// ascend, so no byte of the file belongs to two entries.

#ifndef AUTODIST_TABLES_TABLE_TABLE_READER_H_
#define AUTODIST_TABLES_TABLE_TABLE_READER_H_

#include <functional>
#include <string>
#include <string_view>

#include "tables/outcome.h"
#include "tables/table/byte_source.h"

namespace autodist {

using TableVisit = std::function<Outcome(const std::string& key, std::string_view value)>;

// Calls visit(key, value) for every entry of the table, in its order, until one is not good.
// Damaged, with a text that names no file, if it is no table or is damaged.
Outcome ReadTable(const ByteSource& source, const TableVisit& visit);

// The same for the blocks that may hold `first_key` and those after them: visits all entries from
// that key on, and perhaps some before it.
Outcome ReadTableFrom(const ByteSource& source, std::string_view first_key,
                      const TableVisit& visit);

}  // namespace autodist

#endif  // AUTODIST_TABLES_TABLE_TABLE_READER_H_
