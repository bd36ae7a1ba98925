// The bytes of tensors whose elements vary in size, produced a block at a time.
//
// Strings, as stock BundleWriter's WriteStringTensor writes them (TensorFlow 2.21):
//
//   [varint length of each string][masked CRC of the lengths, fixed32][the strings' bytes]
//
// where the CRC takes each length as uint32, or as uint64 above UINT32_MAX. The CRC in the index is
// that of the same lengths, the masked CRC and the bytes. Variants, as WriteVariantTensor writes
// them:
//
//   for each: [varint length][VariantTensorDataProto][masked CRC of everything so far, fixed32]
//
// where the CRC takes lengths as uint64. The strings are not copied: their encoding is computed
// twice, first for its size and then for its bytes. Variants are encoded in memory.

#ifndef AUTODIST_FORMAT_VALUES_ENCODED_STREAM_H_
#define AUTODIST_FORMAT_VALUES_ENCODED_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "tensorflow/core/platform/tstring.h"

namespace tensorflow {
class Variant;
}  // namespace tensorflow

namespace autodist {

class EncodedStream {
 public:
  virtual ~EncodedStream() = default;

  // Bytes in all, known from the start.
  virtual int64_t size_bytes() const = 0;

  // Writes the next bytes, up to `capacity`, and returns how many; 0 at the end.
  virtual size_t Next(char* out, size_t capacity) = 0;

  // The CRC for the index, unmasked. REQUIRES: Next() has returned 0.
  virtual uint32_t crc32c() const = 0;
};

// The elements of a tensor in row-major order, in pieces that each lie together in memory. They
// must outlive the stream.
std::unique_ptr<EncodedStream> EncodeStrings(
    std::vector<absl::Span<const tensorflow::tstring>> pieces);
absl::StatusOr<std::unique_ptr<EncodedStream>> EncodeVariants(
    const std::vector<absl::Span<const tensorflow::Variant>>& pieces);

}  // namespace autodist

#endif  // AUTODIST_FORMAT_VALUES_ENCODED_STREAM_H_
