// What a restore reads, and where each byte of it goes: pure data.
//
//   stored                       wanted (targets)
//   w, slice [0, 6)  ----------> [0, 4)   on one device
//                    `---------> [4, 8)   on another, and a replica of it
//   w, slice [6, 12) ----------'
//                    `---------> [8, 12)
//
// A stored piece is the bytes of one index entry: a whole tensor or one slice of it. It is read
// once and in full, for its CRC is of all of it; its deliveries say which of its elements belong
// where. Everything stored and wanted under one name is a group, and takes effect together.

#ifndef AUTODIST_RESTORE_RESTORE_PLAN_H_
#define AUTODIST_RESTORE_RESTORE_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/boxes/box.h"
#include "core/boxes/runs.h"
#include "format/reader/bundle_reader.h"
#include "tensorflow/core/framework/types.h"

namespace autodist {

// One tensor asked for, as RestoreV2 is asked.
struct RestoreEntry {
  std::string name;
  std::string shape_and_slice;  // as in RestoreV2; "": the whole tensor
  tensorflow::DataType dtype;
  int first_target;  // those that take it have numbers from this one on
  int target_count;  // several are replicas; there may be none
};

// The elements of a piece that belong to a target.
struct Delivery {
  int target;    // of the group
  RunPlan runs;  // "output" is the piece, "source" the target
  int64_t end;   // past the last element that this delivery or one before it takes
};

struct Piece {
  int entry;                         // in the index
  std::vector<Delivery> deliveries;  // ascending by the first element they take
};

// Memory that is filled: a variable, a replica of one, or a new tensor.
struct Target {
  int number;
  Box box;  // within the stored tensor

  const Dims& shape() const { return box.extent; }
};

struct Group {
  std::string name;
  tensorflow::DataType dtype;
  Dims shape;                 // of the stored tensor
  std::vector<Piece> pieces;  // ascending by file and offset; only those that are wanted
  std::vector<Target> targets;
  int64_t size_bytes = 0;  // of all pieces
};

struct RestorePlan {
  std::vector<Group> groups;  // ascending by file and offset
};

// Refuses, naming everything that is wrong and not just the first:
//   NotFound         names that are not in the checkpoint
//   InvalidArgument  another dtype or full shape than wanted; a slice that does not parse
//   DataLoss         stored slices that overlap, lie outside, or leave a hole in what is wanted; a
//                    size that is not that of the shape
absl::StatusOr<RestorePlan> BuildRestorePlan(const BundleIndex& index,
                                             const std::vector<RestoreEntry>& entries);

}  // namespace autodist

#endif  // AUTODIST_RESTORE_RESTORE_PLAN_H_
