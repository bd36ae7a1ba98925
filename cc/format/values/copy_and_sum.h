// Copies bytes and computes the CRC32C of the copy, faster than in two passes.
//
// A processor that can fold (crc_folding.h) folds. Others have an instruction for CRCs, which takes
// three cycles but can start every cycle. So three sums run side by side, over three lanes of the
// bytes, and absl::ConcatCrc32c joins them:
//
//   bytes   |------ lane 0 ------|------ lane 1 ------|------ lane 2 ------|tail|
//   copied   piece 0              piece 1              piece 2                then summed, then the
//   next three
//
// Copy and sum alternate in pieces that stay in the first-level cache. absl::MemcpyCrc32c does the
// same only for processors it knows by model. It is used on machines other than x86-64.

#ifndef AUTODIST_FORMAT_VALUES_COPY_AND_SUM_H_
#define AUTODIST_FORMAT_VALUES_COPY_AND_SUM_H_

#include <cstdint>

#include "absl/crc/crc32c.h"

namespace autodist {

// Sees bytes right after they were summed, while they are in the first-level cache.
class PieceObserver {
 public:
  virtual ~PieceObserver() = default;

  // The next `size` bytes. A function that sums gives its bytes in pieces of kObservedBytes from
  // the first byte on; the last piece may be smaller.
  virtual void Observe(const char* bytes, int64_t size) = 0;
};

inline constexpr int64_t kObservedBytes = 16384;

// The CRC is that of the bytes in `to`, even if `from` changes meanwhile. The ranges do not
// overlap. `observer` may be null; it sees the bytes in `to`.
absl::crc32c_t CopyAndSum(const char* from, int64_t size, char* to,
                          PieceObserver* observer = nullptr);

absl::crc32c_t Sum(const char* bytes, int64_t size, PieceObserver* observer = nullptr);

// The same on a processor that cannot fold; for tests.
absl::crc32c_t CopyAndSumInLanes(const char* from, int64_t size, char* to);
absl::crc32c_t SumInLanes(const char* bytes, int64_t size);

}  // namespace autodist

#endif  // AUTODIST_FORMAT_VALUES_COPY_AND_SUM_H_
