// Reads the index of a bundle. verify_bundle.cc reads the data.

#include "format/reader/bundle_reader.h"

#include <string>
#include <unordered_map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/printable.h"
#include "format/index/bundle_names.h"
#include "format/index/table_reader.h"
#include "tables/bytes/masked_crc.h"
#include "tensorflow/core/framework/tensor_shape.h"
#include "tensorflow/core/framework/tensor_slice.h"
#include "tensorflow/core/protobuf/tensor_bundle.pb.h"
#include "tensorflow/core/util/saved_tensor_slice_util.h"
#include "tensorflow/core/util/tensor_bundle/tensor_bundle.h"

namespace autodist {
namespace {

// The keys of slices begin with this byte (TensorFlow 2.21, saved_tensor_slice_util.h). They are
// never decoded, for TensorFlow's decoder allocates by the rank it finds; they are made from what
// the variables list, and looked for.
constexpr char kSliceMark = '\0';

// Reads an entry, all but its name.
absl::Status ParseEntry(absl::string_view value, BundleEntry* entry) {
  tensorflow::BundleEntryProto proto;
  if (!proto.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
    return absl::DataLossError("its value is not a BundleEntryProto");
  }
  absl::Status status = tensorflow::TensorShape::IsValidShape(proto.shape());
  if (!status.ok()) return status;
  for (const auto& dim : proto.shape().dim()) entry->shape.push_back(dim.size());
  for (const auto& slice : proto.slices()) {
    entry->slices.emplace_back();
    status = tensorflow::TensorSlice::BuildTensorSlice(slice, &entry->slices.back());
    if (!status.ok()) return status;
  }
  entry->dtype = proto.dtype();
  entry->shard_id = proto.shard_id();
  entry->offset = proto.offset();
  entry->size_bytes = proto.size();
  entry->crc32c = UnmaskCrc(proto.crc32c());
  return absl::OkStatus();
}

absl::Status ParseHeader(absl::string_view value, BundleIndex* index) {
  tensorflow::BundleHeaderProto header;
  if (!header.ParseFromArray(value.data(), static_cast<int>(value.size())) ||
      header.num_shards() < 0) {
    return absl::DataLossError("its first entry is not the header of a checkpoint");
  }
  if (header.endianness() != tensorflow::BundleHeaderProto::LITTLE) {
    return absl::UnimplementedError("a big-endian checkpoint");
  }
  if (header.version().min_consumer() > tensorflow::kTensorBundleVersion) {
    return absl::UnimplementedError(
        absl::StrCat("a checkpoint for readers of version ", header.version().min_consumer(),
                     " and later; this one has ", tensorflow::kTensorBundleVersion));
  }
  index->shard_count = header.num_shards();
  return absl::OkStatus();
}

class IndexBuilder {
 public:
  absl::Status Add(const std::string& key, absl::string_view value) {
    if (!has_header_) {
      has_header_ = true;
      if (!key.empty()) return absl::DataLossError(kNoHeader);
      return ParseHeader(value, &index_);
    }
    BundleEntry entry;
    const absl::Status parsed = ParseEntry(value, &entry);
    if (!parsed.ok()) {
      return absl::DataLossError(
          absl::StrCat("entry '", absl::CHexEscape(key), "': ", parsed.message()));
    }
    const bool is_slice = !key.empty() && key[0] == kSliceMark;
    if (is_slice) {
      slices_.emplace(key, static_cast<int>(index_.entries.size()));
    } else {
      entry.name = key;
    }
    index_.entries.push_back(std::move(entry));
    return absl::OkStatus();
  }

  absl::StatusOr<BundleIndex> Build() && {
    if (!has_header_) return absl::DataLossError(kNoHeader);
    std::vector<BundleEntry>& entries = index_.entries;
    for (size_t i = 0; i < entries.size(); ++i) {
      if (entries[i].slices.empty()) continue;
      entries[i].slice_entries.reserve(entries[i].slices.size());
      for (const tensorflow::TensorSlice& slice : entries[i].slices) {
        const auto found =
            slices_.find(tensorflow::checkpoint::EncodeTensorNameSlice(entries[i].name, slice));
        if (found == slices_.end()) {
          return absl::DataLossError(absl::StrCat(entries[i].ToString(), ": its slice ",
                                                  slice.DebugString(), " is missing"));
        }
        entries[i].slice_entries.push_back(found->second);
        entries[found->second].name = entries[i].name;
        entries[found->second].slice = slice;
      }
    }
    if (!slices_.empty()) LeaveOutUnlisted();
    return std::move(index_);
  }

 private:
  static constexpr char kNoHeader[] = "its first entry is not the header of a checkpoint";

  void LeaveOutUnlisted() {
    std::vector<int> moved_to(index_.entries.size());
    std::vector<BundleEntry> kept;
    for (size_t i = 0; i < index_.entries.size(); ++i) {
      moved_to[i] = static_cast<int>(kept.size());
      if (!index_.entries[i].name.empty()) kept.push_back(std::move(index_.entries[i]));
    }
    for (BundleEntry& entry : kept) {
      for (int& slice_entry : entry.slice_entries) slice_entry = moved_to[slice_entry];
    }
    index_.entries = std::move(kept);
  }

  bool has_header_ = false;
  BundleIndex index_;
  std::unordered_map<std::string, int> slices_;  // by key, to their number
};

absl::Status Located(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(Printable(path), ": ", status.message()));
}

}  // namespace

std::string BundleEntry::ToString() const {
  const std::string quoted = absl::StrCat("tensor '", absl::CHexEscape(name), "'");
  return slice.has_value() ? absl::StrCat(quoted, ", slice ", slice->DebugString()) : quoted;
}

absl::StatusOr<BundleIndex> ReadBundleIndex(const std::string& prefix, IndexRows* rows) {
  const std::string path = IndexName(prefix);
  IndexBuilder builder;
  absl::Status status = ReadTable(path, [&](const std::string& key, absl::string_view value) {
    const absl::Status added = builder.Add(key, value);
    if (rows != nullptr) rows->emplace_back(key, value);
    return added.ok() ? added : Located(path, added);
  });
  if (!status.ok()) return status;
  absl::StatusOr<BundleIndex> index = std::move(builder).Build();
  if (!index.ok()) return Located(path, index.status());
  return index;
}

absl::StatusOr<BundleIndex> ParseBundleIndex(const IndexRows& rows) {
  IndexBuilder builder;
  for (const auto& [key, value] : rows) {
    const absl::Status added = builder.Add(key, value);
    if (!added.ok()) return added;
  }
  return std::move(builder).Build();
}

}  // namespace autodist
