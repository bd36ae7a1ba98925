// Reads strings as a checkpoint holds them.

#include "format/reader/string_decoder.h"

#include <vector>

#include "absl/crc/crc32c.h"
#include "absl/strings/str_cat.h"
#include "format/values/copy_and_sum.h"
#include "format/values/length_crc.h"
#include "tables/bytes/masked_crc.h"

namespace autodist {

absl::Status DecodeStrings(EntryBytes* bytes, uint32_t crc32c,
                           absl::Span<tensorflow::tstring> strings) {
  absl::crc32c_t crc{0};
  std::vector<uint64_t> lengths(strings.size());
  const absl::Status unparsable = absl::DataLossError("they do not hold as many strings");
  uint64_t total = 0;
  for (uint64_t& length : lengths) {
    if (!bytes->TakeVarint(&length)) return bytes->status().ok() ? unparsable : bytes->status();
    // What the strings take must be left after each length, or a sum could wrap around.
    const uint64_t remaining = static_cast<uint64_t>(bytes->remaining());
    if (total > remaining || length > remaining - total) return unparsable;
    total += length;
    crc = ExtendByLength(crc, length);
  }
  uint32_t lengths_crc;
  if (static_cast<uint64_t>(bytes->remaining()) != total + sizeof(lengths_crc) ||
      !bytes->TakeInto(sizeof(lengths_crc), reinterpret_cast<char*>(&lengths_crc))) {
    return bytes->status().ok() ? unparsable : bytes->status();
  }
  if (UnmaskCrc(lengths_crc) != static_cast<uint32_t>(crc)) {
    return absl::DataLossError("the lengths of the strings are not those that were written");
  }
  crc = absl::ExtendCrc32c(crc, BytesOf(lengths_crc));
  for (size_t i = 0; i < strings.size(); ++i) {
    strings[i].resize_uninitialized(lengths[i]);
    if (!bytes->TakeInto(lengths[i], strings[i].mdata())) {
      return bytes->status().ok() ? unparsable : bytes->status();
    }
    crc = absl::ConcatCrc32c(crc, Sum(strings[i].data(), lengths[i]), lengths[i]);
  }
  if (static_cast<uint32_t>(crc) == crc32c) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("they have the CRC ",
                                          absl::Hex(static_cast<uint32_t>(crc), absl::kZeroPad8),
                                          ", written with ", absl::Hex(crc32c, absl::kZeroPad8)));
}

}  // namespace autodist
