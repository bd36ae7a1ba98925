// How tasks that write one file share its blocks: each block has one writer.
//
// Clients of a network file system write pages or stripes. Two clients that write to one page, each
// its own bytes, may write over each other's. The parts of a save (part_plan.h) end where variables
// end, so most borders between two writers lie within a block:
//
//   part      |    a, task 0     |    b, task 1      |
//   block     |        |        |        |        |
//   writer         0        1        1        1           b has more of the second block than a
//   handover               ^^                             task 0 hands these bytes to task 1
//
// A task hands over bytes as it has read them: from the same read, at the same instant, as those
// that it writes itself. They may end within an element.
//
// Pure: nothing here touches values or files. Linear in the number of parts and of blocks that
// several of them lie in.

#ifndef AUTODIST_SAVE_PLAN_SHARED_BLOCKS_H_
#define AUTODIST_SAVE_PLAN_SHARED_BLOCKS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "save/plan/part_plan.h"

namespace autodist {

// What clients cache at least; no file system has smaller pages on the machines TensorFlow is for.
inline constexpr int64_t kPageBytes = 4096;

// Bytes [begin, end) of the file that one task reads and another writes.
struct Handover {
  int64_t begin;
  int64_t end;
  int from;
  int to;
  int group;      // of the parts they belong to
  int last_part;  // they are there once this part was read
};

// Bytes [begin, end) of the file that one task writes, up to where another's begin.
struct WriterRun {
  int64_t begin;
  int64_t end;
  int writer;
};

struct SharedBlocks {
  std::vector<Handover> handovers;  // ascending, disjoint
  std::vector<WriterRun> runs;      // ascending; they cover the file
};

// The writer of a block is the task that has most of its bytes, and of several the first.
// `parts` ascend by offset without a gap, as those of a PartPlan.
SharedBlocks ShareBlocks(absl::Span<const Part> parts, int64_t block_bytes);

// Ranges of the file to read again after the save, to check that the written bytes are there. They
// are the first and last page of each writer, and the pages at both sides of each border. If these
// exceed `limit_bytes` together, some borders are chosen evenly. Empty if there is one writer.
// Ascending and disjoint; each lies within one run.
std::vector<WriterRun> PagesToCheck(absl::Span<const WriterRun> runs, int64_t limit_bytes);

}  // namespace autodist

#endif  // AUTODIST_SAVE_PLAN_SHARED_BLOCKS_H_
