// The bytes of a bundle's index file.

#include "format/index/index_table.h"

#include "tensorflow/core/framework/versions.pb.h"
#include "tensorflow/core/platform/file_system.h"
#include "tensorflow/core/util/tensor_bundle/tensor_bundle.h"
#include "xla/tsl/lib/io/table_builder.h"
#include "xla/tsl/lib/io/table_options.h"

namespace autodist {
namespace {

// A file in memory. The table builder takes nothing but files.
class StringFile : public tsl::WritableFile {
 public:
  explicit StringFile(std::string* contents) : contents_(*contents) {}
  absl::Status Append(absl::string_view data) override {
    contents_.append(data.data(), data.size());
    return absl::OkStatus();
  }
  absl::Status Close() override { return absl::OkStatus(); }
  absl::Status Flush() override { return absl::OkStatus(); }
  absl::Status Sync() override { return absl::OkStatus(); }

 private:
  std::string& contents_;
};

}  // namespace

absl::StatusOr<std::string> BuildIndexTable(
    const std::map<std::string, tensorflow::BundleEntryProto>& entries, int data_file_count) {
  std::string contents;
  StringFile file(&contents);
  tsl::table::Options options;
  options.compression = tsl::table::kNoCompression;
  tsl::table::TableBuilder builder(options, &file);

  tensorflow::BundleHeaderProto header;
  header.set_num_shards(data_file_count);
  header.set_endianness(tensorflow::BundleHeaderProto::LITTLE);
  header.mutable_version()->set_producer(tensorflow::kTensorBundleVersion);
  header.mutable_version()->set_min_consumer(tensorflow::kTensorBundleMinConsumer);
  builder.Add(tensorflow::kHeaderEntryKey, header.SerializeAsString());
  for (const auto& [key, entry] : entries) {
    builder.Add(key, entry.SerializeAsString());
  }
  if (absl::Status status = builder.Finish(); !status.ok()) return status;
  return contents;
}

}  // namespace autodist
