// Entries of tensors and of their slices: keys, shapes, places in the data file. The tables and the
// sums are right; what they say is the input's.

#include <map>

#include "absl/crc/crc32c.h"
#include "fuzz/fuzz_bundle.h"
#include "fuzz/fuzz_input.h"
#include "tables/bytes/masked_crc.h"
#include "tables/table/testing_table.h"
#include "tensorflow/core/framework/tensor_slice.h"
#include "tensorflow/core/protobuf/tensor_bundle.pb.h"
#include "tensorflow/core/util/saved_tensor_slice_util.h"

namespace autodist::fuzz {
namespace {

using tensorflow::BundleEntryProto;
using tensorflow::TensorSliceProto;

TensorSliceProto TakeSlice(FuzzInput* input) {
  TensorSliceProto slice;
  for (int rank = input->TakeByte() % 4; rank > 0; --rank) {
    auto* extent = slice.add_extent();
    const int64_t start = input->TakeNumber();
    const int64_t length = input->TakeNumber();
    // As the format spells a full extent.
    if (length == 0) continue;
    extent->set_start(start);
    extent->set_length(length);
  }
  return slice;
}

// An entry of what `data` holds in a range; its sum is mostly right.
BundleEntryProto TakeEntry(FuzzInput* input, const std::string& data) {
  BundleEntryProto entry;
  const uint8_t flags = input->TakeByte();
  entry.set_dtype(static_cast<tensorflow::DataType>(input->TakeByte() % 64));
  for (int rank = flags % 4; rank > 0; --rank) {
    entry.mutable_shape()->add_dim()->set_size(input->TakeNumber());
  }
  if (flags & 4) entry.mutable_shape()->set_unknown_rank(true);
  if (flags & 8) entry.set_shard_id(static_cast<int>(input->TakeNumber()));
  entry.set_offset(input->TakeNumber());
  entry.set_size(input->TakeNumber());
  const size_t offset = static_cast<size_t>(entry.offset());
  if (!(flags & 16) && offset <= data.size()) {
    const std::string bytes = data.substr(offset, static_cast<size_t>(entry.size()));
    entry.set_crc32c(MaskCrc(static_cast<uint32_t>(absl::ComputeCrc32c(bytes))));
  }
  return entry;
}

}  // namespace

void Fuzz(FuzzInput* input) {
  static auto* const data = [] {
    auto* bytes = new std::string;
    for (int i = 0; i < 256; ++i) bytes->push_back(static_cast<char>(i * 7));
    return bytes;
  }();
  static auto* const bundle = [] {
    auto* made = new FuzzBundle;
    made->WriteData(*data);
    return made;
  }();
  tensorflow::BundleHeaderProto header;
  header.set_num_shards(1);
  header.mutable_version()->set_producer(1);
  std::map<std::string, std::string> table = {{"", header.SerializeAsString()}};
  const std::string shape_and_slice = input->TakeUntil('\n');
  while (!input->is_empty()) {
    const std::string name(1, static_cast<char>('a' + input->TakeByte() % 3));
    BundleEntryProto entry = TakeEntry(input, *data);
    for (int slices = input->TakeByte() % 5; slices > 0; --slices) {
      const TensorSliceProto proto = TakeSlice(input);
      *entry.add_slices() = proto;
      tensorflow::TensorSlice slice;
      if (!tensorflow::TensorSlice::BuildTensorSlice(proto, &slice).ok()) continue;
      table[tensorflow::checkpoint::EncodeTensorNameSlice(name, slice)] =
          TakeEntry(input, *data).SerializeAsString();
    }
    table[name] = entry.SerializeAsString();
  }
  std::string entries;
  for (const auto& [key, value] : table) entries += testing::TableEntry(0, key, value);
  bundle->WriteIndexOf(entries);
  bundle->LoadEverything(shape_and_slice);
}

}  // namespace autodist::fuzz
