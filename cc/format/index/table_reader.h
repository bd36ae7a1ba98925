// Reads TensorFlow's sorted tables, the format of a checkpoint's index.
//
//   [data block]... [meta index block] [index block] [footer]
//   block    entries, restart points, their number; then its kind (1 byte) and its masked CRC
//   entry    varints: bytes shared with the key before, bytes that are not, bytes of the value;
//            then the rest of the key and the value
//   footer   48 bytes: where the meta index and the index lie (varints), padding, a magic number
//
// TensorFlow's own reader trusts the sizes it finds: a malicious file makes it allocate any amount.
// This reader allocates only what the file holds, and checks every length. Keys and blocks must
// ascend, so no byte of the file belongs to two entries.

#ifndef AUTODIST_FORMAT_INDEX_TABLE_READER_H_
#define AUTODIST_FORMAT_INDEX_TABLE_READER_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace autodist {

// Calls visit(key, value) for every entry of the table at `path`, in its order, until one fails.
// DataLoss, with the path, if the file is not a table or is damaged.
absl::Status ReadTable(
    const std::string& path,
    const std::function<absl::Status(const std::string& key, absl::string_view value)>& visit);

}  // namespace autodist

#endif  // AUTODIST_FORMAT_INDEX_TABLE_READER_H_
