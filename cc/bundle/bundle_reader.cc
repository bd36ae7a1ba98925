// Reads the index of a bundle. verify_bundle.cc reads the data.

#include "bundle/bundle_reader.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "bundle/masked_crc.h"
#include "tensorflow/core/framework/tensor_shape.h"
#include "tensorflow/core/framework/tensor_slice.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/protobuf/tensor_bundle.pb.h"
#include "tensorflow/core/util/saved_tensor_slice_util.h"
#include "tensorflow/core/util/tensor_bundle/naming.h"
#include "xla/tsl/lib/io/iterator.h"
#include "xla/tsl/lib/io/table.h"
#include "xla/tsl/lib/io/table_options.h"

namespace autodist {
namespace {

absl::Status Corrupt(const std::string& path, absl::string_view problem) {
  return absl::DataLossError(absl::StrCat(path, ": ", problem));
}

absl::StatusOr<std::string> SliceText(const tensorflow::TensorSliceProto& proto) {
  tensorflow::TensorSlice slice;
  absl::Status status = tensorflow::TensorSlice::BuildTensorSlice(proto, &slice);
  if (!status.ok()) return status;
  return slice.DebugString();
}

// Reads the entry stored under `key`.
absl::Status ParseEntry(const std::string& key, absl::string_view value, BundleEntry* entry) {
  tensorflow::BundleEntryProto proto;
  if (!proto.ParseFromString(std::string(value))) {
    return absl::DataLossError("its value is not a BundleEntryProto");
  }
  entry->name = key;
  if (!key.empty() && key[0] == '\0') {
    tensorflow::TensorSlice slice;
    std::string name;
    absl::Status status = tensorflow::checkpoint::DecodeTensorNameSlice(key, &name, &slice);
    if (!status.ok()) return status;
    entry->name = std::move(name);
    entry->slice = slice.DebugString();
  }
  absl::Status status = tensorflow::TensorShape::IsValidShape(proto.shape());
  if (!status.ok()) return status;
  for (const auto& dim : proto.shape().dim()) entry->shape.push_back(dim.size());
  for (const auto& slice : proto.slices()) {
    absl::StatusOr<std::string> text = SliceText(slice);
    if (!text.ok()) return text.status();
    entry->slices.push_back(*std::move(text));
  }
  entry->dtype = proto.dtype();
  entry->shard_id = proto.shard_id();
  entry->offset = proto.offset();
  entry->size_bytes = proto.size();
  entry->crc32c = UnmaskCrc(proto.crc32c());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<BundleIndex> ReadBundleIndex(const std::string& prefix) {
  const std::string path = tensorflow::MetaFilename(prefix);
  tsl::Env* env = tsl::Env::Default();
  uint64_t size;
  absl::Status status = env->GetFileSize(path, &size);
  std::unique_ptr<tsl::RandomAccessFile> file;
  if (status.ok()) status = env->NewRandomAccessFile(path, &file);
  if (!status.ok()) return status;

  tsl::table::Table* opened = nullptr;
  status = tsl::table::Table::Open(tsl::table::Options(), file.get(), size, &opened);
  if (!status.ok()) return Corrupt(path, status.message());
  const std::unique_ptr<tsl::table::Table> table(opened);
  const std::unique_ptr<tsl::table::Iterator> iterator(table->NewIterator());

  BundleIndex index;
  tensorflow::BundleHeaderProto header;
  iterator->SeekToFirst();
  if (!iterator->Valid() || !iterator->key().empty() ||
      !header.ParseFromString(std::string(iterator->value())) || header.num_shards() < 0) {
    return Corrupt(path, "its first entry is not the header of a checkpoint");
  }
  if (header.endianness() != tensorflow::BundleHeaderProto::LITTLE) {
    return absl::UnimplementedError(absl::StrCat(path, ": a big-endian checkpoint"));
  }
  index.shard_count = header.num_shards();
  for (iterator->Next(); iterator->Valid(); iterator->Next()) {
    BundleEntry entry;
    const std::string key(iterator->key());
    status = ParseEntry(key, iterator->value(), &entry);
    if (!status.ok()) {
      return Corrupt(path, absl::StrCat("entry '", entry.name, "': ", status.message()));
    }
    index.entries.push_back(std::move(entry));
  }
  if (!iterator->status().ok()) return Corrupt(path, iterator->status().message());
  return index;
}

}  // namespace autodist
