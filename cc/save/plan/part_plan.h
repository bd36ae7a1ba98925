// Which task writes which bytes of a checkpoint whose shards lie on several tasks of a cluster.
//
// A task that holds all sources of a unit (file_plan.h) writes it from its own memory, if it can
// reach the file: a direct part. Any other unit is cut into parts. Whoever writes a part gets
// what it lacks over the network, from the tasks that hold it:
//
//   unit     holders        with a shared file system          without (task 0 is the chief)
//   a.0      0              direct, by 0                       direct, by 0
//   a.1      1              direct, by 1                       parts, by 0, from 1
//   b        0 and 1, mean  parts, by 0 and 1, from each other parts, by 0, from 1
//
// Balance() (core/planning/balance.h) decides how much each task writes of what several may write,
// as it does for autodist.planning. There a task gets bytes that lie together. Here parts go to the
// tasks in turn, so that all write while a group is on its way.
//
// Parts that are sent are grouped. While a group is on its way its sources are kept unchanged. A
// task keeps at most `group_bytes` of them, unless a single unit has more.
//
// Parts end where variables do. Who writes a block that two of them lie in: shared_blocks.h.
//
// Pure: nothing here touches values or files. Near-linear in the number of units.

#ifndef AUTODIST_SAVE_PLAN_PART_PLAN_H_
#define AUTODIST_SAVE_PLAN_PART_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "save/plan/file_plan.h"
#include "save/plan/save_plan.h"

namespace autodist {

// Elements of one source, dense in the source's own order.
struct PartSource {
  int source;
  int64_t first;
  int64_t count;
};

// Bytes of one planned tensor that one task writes.
struct Part {
  static constexpr int kDirect = -1;

  int tensor;     // index into SavePlan::tensors
  int64_t begin;  // in elements of that tensor, half-open; of a stream 0 and 0
  int64_t end;
  int64_t offset;  // of its first byte in the data file
  int64_t size_bytes;
  int writer;                                  // number of a task
  int group;                                   // or kDirect
  FewNumbers shards;                           // indices into PlannedTensor::shards
  absl::InlinedVector<PartSource, 1> sources;  // shard by shard and replica by replica
};

struct PartPlan {
  std::vector<Extent> extents;  // one per planned tensor
  std::vector<Part> parts;      // ascending by offset; they cover the file
  int group_count = 0;
  int64_t size_bytes = 0;
};

struct PartOptions {
  int chief = 0;
  std::vector<bool> writers;  // by task: whether it reaches the file; the chief does
  int64_t part_bytes = 0;     // of a part that is sent, at most; at least one element
  int64_t block_bytes = 1;    // where it can, a part that is sent ends with a block of the file
  int64_t group_bytes = 0;    // of sources that a task keeps at a time
};

// `tasks` has the task of each source; `stream_bytes` is as in PlanFile().
PartPlan PlanParts(const SavePlan& plan, const std::vector<int64_t>& stream_bytes,
                   const std::vector<int>& tasks, const PartOptions& options);

}  // namespace autodist

#endif  // AUTODIST_SAVE_PLAN_PART_PLAN_H_
