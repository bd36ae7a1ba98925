// One pass of a restore over the data files: every byte once, in any number of threads, through one
// block of memory each. See job_queue.h for how the threads share the work.

#ifndef AUTODIST_RESTORE_LOAD_PASS_H_
#define AUTODIST_RESTORE_LOAD_PASS_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "format/reader/bundle_reader.h"
#include "format/reader/data_files.h"
#include "restore/group_loader.h"
#include "restore/restore_plan.h"
#include "restore/restore_targets.h"
#include "system_memory/memory_budget.h"
#include "threads/job_threads.h"
#include "threads/progress.h"

namespace autodist {

// What is loaded; outlives the passes.
struct LoadState {
  const BundleIndex& index;
  const RestorePlan& plan;
  const DataFiles& files;
  RestoreTargets& targets;
  std::vector<std::vector<bool>> is_live = {};  // by group, by target of the group
  std::vector<bool> has_live = {};              // by group
};

// What a pass writes.
struct Writes {
  bool fresh;
  bool live;
};

// Reads some groups of a plan. Run() is called once.
class LoadPass : private JobWork {
 public:
  // `budget`, of new memory, `progress` and `cancelled` may be null.
  LoadPass(LoadState* load, Writes writes, MemoryBudget* budget, Progress* progress,
           const std::atomic<bool>* cancelled);

  int64_t size_bytes() const { return size_bytes_; }

  absl::Status Run(int threads);

  // Whether live targets of a group were written to, or begun to be. REQUIRES: Run() has returned.
  bool was_opened(size_t group) const { return was_opened_[group]; }

 private:
  // The memory of a group's targets, of those that the pass writes.
  struct Memory {
    // Closed after `tensors` are gone: once others get at a variable, its memory is its own.
    std::unique_ptr<OpenTargets> open;
    std::vector<GroupLoader::TargetMemory> tensors;
  };

  std::vector<Job> MakeJobs();
  int ShardOf(const Group& group) const;
  std::optional<int64_t> OffsetIfTogether(const Group& group) const;

  absl::Status DoJob(const Job& job, char* buffer) override;
  absl::Status DoBlock(OpenUnit* unit, int64_t block, char* buffer) override;
  absl::StatusOr<Memory> MakeMemory(int number);
  absl::Status ReadBatch(const Job& job, char* buffer);
  absl::Status LoadBatch(const Job& job, char* buffer);
  absl::Status LoadBlocks(int number, char* buffer);
  absl::Status LoadStrings(const Group& group);
  absl::Status Note(int64_t bytes);

  LoadState& load_;
  const Writes writes_;
  MemoryBudget* const budget_;
  Progress* const progress_;
  int64_t size_bytes_ = 0;
  const std::vector<Job> jobs_;
  JobThreads threads_;
  // By group; each is written by one thread. Not bool, whose neighbours share a byte.
  std::vector<char> was_opened_;
};

}  // namespace autodist

#endif  // AUTODIST_RESTORE_LOAD_PASS_H_
