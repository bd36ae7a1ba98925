// Parts of a plan as numbers, which the client that made the plan sends to the tasks that write
// them.
//
// For each part a writer gets its bytes in the file and its boxes. For each source it gets where
// the elements are: in a value that the task holds, or in a buffer that another task sends. The
// sender gets which elements of which of its sources to send, in the same order.

#ifndef AUTODIST_SAVE_PLAN_PART_CODEC_H_
#define AUTODIST_SAVE_PLAN_PART_CODEC_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "save/plan/file_plan.h"
#include "save/plan/part_plan.h"
#include "save/plan/save_plan.h"

namespace autodist {

// What one writer and those who send to it are told.
struct EncodedParts {
  std::vector<int64_t> write;
  std::map<int, std::vector<int64_t>> read;  // by task; buffers have this order
};

// `tasks` has the task of each source.
EncodedParts EncodeParts(const SavePlan& plan, absl::Span<const Part* const> parts,
                         const std::vector<int>& tasks);

// Where the elements of a source are.
struct PartValue {
  static constexpr int kHeld = -1;

  int buffer;      // number of a buffer, or kHeld
  int64_t source;  // where it is held: its number
  int64_t offset;  // in a buffer: of its first byte
  int64_t first;   // element of the shard
  int64_t count;   // elements
};

// What a writer does: one planned tensor for each part, whose sources number `values`.
struct PartWork {
  SavePlan plan;
  FilePlan file;
  std::vector<PartValue> values;
};

// `names` has the name of the variable of each part. InvalidArgument where the numbers cannot be
// what EncodeParts() made.
absl::StatusOr<PartWork> DecodeParts(absl::Span<const int64_t> numbers,
                                     const std::vector<std::string>& names, int64_t block_bytes);

// Elements to send, one after the other, each beginning at a multiple of kBufferAlignment.
struct PartRead {
  int64_t source;
  int64_t first;
  int64_t count;
};

inline constexpr int64_t kBufferAlignment = 64;

absl::StatusOr<std::vector<PartRead>> DecodeReads(absl::Span<const int64_t> numbers);

inline int64_t AlignedSize(int64_t size_bytes) {
  return (size_bytes + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
}

}  // namespace autodist

#endif  // AUTODIST_SAVE_PLAN_PART_CODEC_H_
