// The bytes of a string tensor, with sums that are right as far as they can be.

#include <vector>

#include "absl/crc/crc32c.h"
#include "fuzz/fuzz_bundle.h"
#include "fuzz/fuzz_input.h"
#include "tables/bytes/masked_crc.h"
#include "tables/table/testing_table.h"
#include "tensorflow/core/protobuf/tensor_bundle.pb.h"

namespace autodist::fuzz {
namespace {}  // namespace

void Fuzz(FuzzInput* input) {
  static auto* const bundle = new FuzzBundle;
  const uint8_t flags = input->TakeByte();
  const int64_t count = input->TakeNumber();
  std::string bytes, summed;
  for (int lengths = input->TakeByte() % 16; lengths > 0; --lengths) {
    const uint64_t length = static_cast<uint64_t>(input->TakeNumber());
    AppendVarint(length, &bytes);
    if (length > UINT32_MAX) {
      AppendNumber(length, &summed);
    } else {
      AppendNumber(static_cast<uint32_t>(length), &summed);
    }
  }
  if (!(flags & 1)) {
    const uint32_t crc = MaskCrc(static_cast<uint32_t>(absl::ComputeCrc32c(summed)));
    AppendNumber(crc, &bytes);
    AppendNumber(crc, &summed);
  }
  const std::string contents = input->TakeRest();
  bytes += contents;
  summed += contents;

  tensorflow::BundleHeaderProto header;
  header.set_num_shards(1);
  header.mutable_version()->set_producer(1);
  tensorflow::BundleEntryProto entry;
  entry.set_dtype(flags & 2 ? tensorflow::DT_VARIANT : tensorflow::DT_STRING);
  entry.mutable_shape()->add_dim()->set_size(count);
  entry.set_size(static_cast<int64_t>(bytes.size()));
  entry.set_crc32c(MaskCrc(static_cast<uint32_t>(absl::ComputeCrc32c(summed))));
  bundle->WriteData(bytes);
  bundle->WriteIndexOf(testing::TableEntry(0, "", header.SerializeAsString()) +
                       testing::TableEntry(0, "s", entry.SerializeAsString()));
  bundle->LoadEverything("3 1,2");
}

}  // namespace autodist::fuzz
