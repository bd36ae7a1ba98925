// Reads the index of a checkpoint, and checks the data files against it. Loads nothing into
// tensors. Takes any number of data files, written by us or not.

#ifndef AUTODIST_FORMAT_READER_BUNDLE_READER_H_
#define AUTODIST_FORMAT_READER_BUNDLE_READER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/boxes/box.h"
#include "tensorflow/core/framework/tensor_slice.h"
#include "tensorflow/core/framework/types.h"

namespace autodist {

// One entry of the index. A variable stored as slices has an entry that lists them and has no
// bytes, and one entry per slice.
struct BundleEntry {
  std::string name;                              // of the logical variable
  std::optional<tensorflow::TensorSlice> slice;  // of the entry of a slice
  tensorflow::DataType dtype;
  Dims shape;                                   // of the variable, or of the slice
  std::vector<tensorflow::TensorSlice> slices;  // where the entry only lists them
  std::vector<int> slice_entries;               // the number of each in the index
  int shard_id;
  int64_t offset;
  int64_t size_bytes;
  uint32_t crc32c;  // unmasked

  // How messages call it: "tensor 'w'" or "tensor 'w', slice 0,4:-".
  std::string ToString() const;
};

struct BundleIndex {
  int shard_count;
  std::vector<BundleEntry> entries;  // in the order of the index
};

// The key and the value of each row of an index file, the header's first.
using IndexRows = std::vector<std::pair<std::string, std::string>>;

// DataLoss if the index cannot be read as one. An entry of a slice that no variable lists is left
// out. `rows`, unless null, gets the rows of the file.
absl::StatusOr<BundleIndex> ReadBundleIndex(const std::string& prefix, IndexRows* rows = nullptr);

// The same from rows.
absl::StatusOr<BundleIndex> ParseBundleIndex(const IndexRows& rows);

// Recomputes the CRC of every entry. DataLoss if the bytes of a tensor are not those that were
// written. It names the first such tensor in file order, its file and the range of its bytes.
absl::Status VerifyBundle(const std::string& prefix);

}  // namespace autodist

#endif  // AUTODIST_FORMAT_READER_BUNDLE_READER_H_
