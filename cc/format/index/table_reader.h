// Reads a checkpoint's index through TensorFlow's file systems. cc/tables/table has the format.

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
