// Which bytes go where in the data file, and in what portions they are worked on.
//
// A unit is a slab of a planned tensor: its shards are read at one instant, and its bytes lie
// together in the file. Units smaller than a block are batched: twenty thousand small variables
// become a few large writes. A larger unit is a job of its own, cut into blocks that all threads
// share:
//
//   tensor     a (4 KiB)  b (4 KiB)  c (5 MiB, two slabs of 2.5 MiB)   d (strings)  e (4 KiB)
//   job        batch {a, b}          blocks {c.0}, blocks {c.1}        stream {d}   batch {e}
//
// Pure: nothing here touches values or files.

#ifndef AUTODIST_SAVE_PLAN_FILE_PLAN_H_
#define AUTODIST_SAVE_PLAN_FILE_PLAN_H_

#include <cstdint>
#include <vector>

#include "core/planning/file_layout.h"
#include "save/plan/save_plan.h"
#include "threads/job.h"

namespace autodist {

// Where a source's value stands in its shard, and where what is needed of it begins, in elements.
struct ValueRange {
  int64_t first;
  int64_t needed;
};

struct Unit {
  int tensor;     // index into SavePlan::tensors
  int64_t begin;  // in elements of that tensor, half-open
  int64_t end;
  int64_t offset;  // of its first byte in the data file
  int64_t size_bytes;
  FewNumbers shards;  // indices into PlannedTensor::shards
  // One per source, where their values need not be whole shards; else empty.
  std::vector<ValueRange> ranges;
};

struct FilePlan {
  std::vector<Extent> extents;  // one per planned tensor
  std::vector<Unit> units;      // ascending by offset
  std::vector<Job> jobs;        // ascending by offset; together they cover the file
  int64_t size_bytes = 0;
};

// Adds unit number `index` to `jobs`: to the last batch if it goes on where that ends, else as a
// job of its own.
void AddUnitJob(const Unit& unit, int index, int64_t block_bytes, std::vector<Job>* jobs);

// `stream_bytes` has one number per planned tensor: its encoded size where elements vary in size,
// ignored for the others. REQUIRES: the file is not too large for an offset.
FilePlan PlanFile(const SavePlan& plan, const std::vector<int64_t>& stream_bytes,
                  int64_t block_bytes);

}  // namespace autodist

#endif  // AUTODIST_SAVE_PLAN_FILE_PLAN_H_
