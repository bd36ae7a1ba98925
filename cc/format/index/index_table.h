// The bytes of a bundle's index file.

#ifndef AUTODIST_FORMAT_INDEX_INDEX_TABLE_H_
#define AUTODIST_FORMAT_INDEX_INDEX_TABLE_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "tensorflow/core/protobuf/tensor_bundle.pb.h"

namespace autodist {

// The index of a bundle of `data_file_count` data files: a header under the empty key, then
// `entries` in byte order of their keys. For one data file it has the bytes that stock
// BundleWriter::Finish writes (TensorFlow 2.21).
absl::StatusOr<std::string> BuildIndexTable(
    const std::map<std::string, tensorflow::BundleEntryProto>& entries, int data_file_count);

}  // namespace autodist

#endif  // AUTODIST_FORMAT_INDEX_INDEX_TABLE_H_
