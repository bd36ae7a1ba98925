// Which task of a cluster reads, sums and takes which bytes of a checkpoint.
//
// A stored piece is cut into segments: wherever the bytes that some task takes begin or end. A
// segment that would be too long to be sent at once is cut, too.
//
//   piece     |-------------------------------|      one CRC in the index
//   task 0    |----------|                           takes the first rows
//   task 1               |--------------|            takes the next
//   segments  |----------|---------|----|-----|      each is summed by those who take it, or, where
//                                                    nobody does, by any task that reads the file
//
// The sums of a piece's segments, joined, must be the stored CRC; and whoever takes a segment must
// have found the same sum in it.
//
// Pure: nothing here touches values or files.

#ifndef AUTODIST_RESTORE_RESTORE_RANGES_H_
#define AUTODIST_RESTORE_RESTORE_RANGES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "format/reader/bundle_reader.h"
#include "restore/restore_plan.h"

namespace autodist {

struct Segment {
  int entry;      // in the index
  int64_t begin;  // bytes of the entry
  int64_t end;
};

struct RangeOptions {
  std::vector<int> tasks;     // by target: which task it is on
  std::vector<bool> live;     // by target: whether it has a value now
  std::vector<bool> readers;  // by task: whether it reads the files; the first does
  bool verify_first = true;   // sum what live targets take before it is taken
  int64_t segment_bytes = 0;  // at most
};

// By task, the numbers of segments.
using TaskSegments = std::vector<std::vector<int>>;

struct RestoreRanges {
  std::vector<Segment> segments;  // entry by entry, ascending
  TaskSegments checks;            // summed, by tasks that read
  TaskSegments fresh;             // taken by targets that have no value
  TaskSegments live;              // taken by targets that have one
};

// `plan` is of all tasks; the numbers of its targets index `options`.
RestoreRanges PlanRestoreRanges(const BundleIndex& index, const RestorePlan& plan,
                                const RangeOptions& options);

// The sums of segments as they come in.
class SegmentSums {
 public:
  // Both outlive it. `prefix` is for messages.
  SegmentSums(const BundleIndex* index, const std::vector<Segment>* segments, std::string prefix)
      : index_(*index), segments_(*segments), prefix_(std::move(prefix)), sums_(segments->size()) {}

  // DataLoss if a segment was found to have another sum before.
  absl::Status Add(absl::Span<const int64_t> numbers, absl::Span<const int64_t> crcs);

  // DataLoss, naming the tensor, the file and the bytes, if an entry's bytes are not those that
  // were written. REQUIRES: every segment was summed.
  absl::Status Verify() const;

 private:
  std::string Locate(const Segment& segment) const;

  const BundleIndex& index_;
  const std::vector<Segment>& segments_;
  const std::string prefix_;
  std::vector<std::optional<uint32_t>> sums_;
};

}  // namespace autodist

#endif  // AUTODIST_RESTORE_RESTORE_RANGES_H_
