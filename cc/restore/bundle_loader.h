// Reads a checkpoint into shards and replicas: every byte once, in any number of threads, through
// one block of memory each.
//
// A pass reads all pieces of the plan, block by block. A block of one target is read straight into
// its memory, any other through a buffer. The sums of the blocks are joined and compared with the
// stored CRC of each piece.
//
//   targets            first pass                      second pass
//   none is live       fills new memory                none
//   some are live      fills new memory, and only      fills the live ones, name by name, each
//   under
//                      sums what the live ones get     its locks; what the first pass found right
//                                                      is summed again
//   the same, kSwap    fills new memory for all        none
//
// So a checkpoint that is damaged, too short or unreadable is refused before any value has changed.
// If a byte of the second pass differs from the first, or is unreadable, the live targets written
// so far lose their values. The others keep their former values. Stored and former values are never
// mixed.

#ifndef AUTODIST_RESTORE_BUNDLE_LOADER_H_
#define AUTODIST_RESTORE_BUNDLE_LOADER_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "format/reader/bundle_reader.h"
#include "restore/restore_plan.h"
#include "restore/restore_targets.h"
#include "system_memory/available_memory.h"
#include "system_memory/memory_budget.h"
#include "threads/progress.h"

namespace autodist {

// When the bytes of live targets are compared with their sums.
enum class Verify {
  kBefore,  // before the first is written; they are read twice
  kDuring,  // while they are written. They have no value then, and stay without one if the
            // checkpoint turns out to be damaged
  kSwap,    // in new memory, which then replaces theirs. kBefore where there is not enough
};

struct LoadOptions {
  int threads = 0;  // 0: chosen from the machine
  // Once true, the restore fails with Cancelled, unless it has begun to write what it verified.
  const std::atomic<bool>* cancelled = nullptr;
  Verify verify = Verify::kBefore;
  Progress* progress = nullptr;  // of the bytes that are read, in all passes; may be null
  MemoryBudget::Available available_memory = [] { return AvailableMemory(); };
};

struct LoadReport {
  int64_t read_bytes = 0;  // in all passes
  std::string no_swap;     // why kSwap did what kBefore does; else empty
};

// New memory is the caller's to make visible, and only if this succeeds. DataLoss, naming the
// tensor, the file and the range of bytes, where they are not those that were written.
absl::StatusOr<LoadReport> LoadBundle(const std::string& prefix, const BundleIndex& index,
                                      const RestorePlan& plan, RestoreTargets* targets,
                                      const LoadOptions& options);

}  // namespace autodist

#endif  // AUTODIST_RESTORE_BUNDLE_LOADER_H_
