// The bytes of a bundle's index file.

#include "format/index/index_table.h"

#include "tables/table/table_builder.h"
#include "tensorflow/core/framework/versions.pb.h"
#include "tensorflow/core/util/tensor_bundle/tensor_bundle.h"

namespace autodist {

absl::StatusOr<std::string> BuildIndexTable(
    const std::map<std::string, tensorflow::BundleEntryProto>& entries, int data_file_count) {
  tensorflow::BundleHeaderProto header;
  header.set_num_shards(data_file_count);
  header.set_endianness(tensorflow::BundleHeaderProto::LITTLE);
  header.mutable_version()->set_producer(tensorflow::kTensorBundleVersion);
  header.mutable_version()->set_min_consumer(tensorflow::kTensorBundleMinConsumer);
  TableBuilder builder;
  builder.Add(tensorflow::kHeaderEntryKey, header.SerializeAsString());
  for (const auto& [key, entry] : entries) builder.Add(key, entry.SerializeAsString());
  return builder.Finish();
}

}  // namespace autodist
