// The part of a restore plan for one task of a cluster, as numbers that the client sends to the
// task.
//
// The client plans a restore of several tasks once (restore_plan.h). Each task gets the part of the
// plan for its targets. The part says where the pieces lie in the data files, where the targets lie
// in the stored tensor, and which piece goes to which target. So no task reads the index. The size
// of all parts together is proportional to the number of targets and pieces.

#ifndef AUTODIST_RESTORE_RESTORE_PART_H_
#define AUTODIST_RESTORE_RESTORE_PART_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "format/reader/bundle_reader.h"
#include "restore/restore_plan.h"

namespace autodist {

struct EncodedPart {
  std::vector<int64_t> numbers;
  std::vector<std::string> names;  // of the tensors
  // For each entry of the part, its number in the index.
  std::vector<int> entries;
};

// Where a target is: which task, and its number among the targets of that task.
struct TargetPlace {
  int task;
  int number;
};

// Returns the part of each task. `places` has one element for each target of `plan`, by its number.
// Takes O(1) time for each target, piece and delivery. REQUIRES: elements are of a fixed size.
std::vector<EncodedPart> EncodeParts(const BundleIndex& index, const RestorePlan& plan,
                                     const std::vector<TargetPlace>& places, int task_count);

struct RestorePart {
  BundleIndex index;  // only what a task needs: without CRCs, and without lists of slices
  RestorePlan plan;
};

// Decodes a part. InvalidArgument if the numbers cannot be from EncodeParts() for a task of
// `target_count` targets.
absl::StatusOr<RestorePart> DecodePart(absl::Span<const int64_t> numbers,
                                       const std::vector<std::string>& names, int target_count);

}  // namespace autodist

#endif  // AUTODIST_RESTORE_RESTORE_PART_H_
