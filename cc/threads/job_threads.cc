// The threads of a save or a restore: each takes jobs from the queue (job_queue.h) and has a block
// of memory for them.

#include "threads/job_threads.h"

#include "threads/block.h"
#include "threads/guarded.h"
#include "threads/run_threads.h"

namespace autodist {

absl::Status JobThreads::Run(int count) {
  const absl::Status status = RunThreads(
      count, [this](int thread) { return WorkUntilDone(thread); },
      [this](const absl::Status& error) { queue_.Fail(error); });
  return status.ok() ? queue_.status() : status;
}

absl::Status JobThreads::WorkUntilDone(int thread) {
  BlockBuffer buffer;
  if (buffer.data() == nullptr) {
    // The others do the work where only they have memory for it.
    return thread == 0 ? NoMemory() : absl::OkStatus();
  }
  while (true) {
    const JobQueue::Work next = queue_.Next();
    if (next.kind == JobQueue::Work::Kind::kNone) return absl::OkStatus();
    const absl::Status status =
        next.kind == JobQueue::Work::Kind::kBlock
            ? DoBlock(next.unit, next.block, buffer.data())
            : Guarded([&] { return work_.DoJob(jobs_[next.job], buffer.data()); });
    if (!status.ok()) return status;
  }
}

absl::Status JobThreads::ShareBlocks(OpenUnit* unit, char* buffer) {
  queue_.Open(unit);
  absl::Status status;
  int64_t block;
  while (status.ok() && queue_.TakeBlock(unit, &block)) status = DoBlock(unit, block, buffer);
  queue_.Close(unit);
  return status.ok() ? queue_.status() : status;
}

absl::Status JobThreads::DoBlock(OpenUnit* unit, int64_t block, char* buffer) noexcept {
  const absl::Status status = Guarded([&] { return work_.DoBlock(unit, block, buffer); });
  // Before the owner learns that nobody works on its blocks any more, and so that others stop
  // taking them.
  if (!status.ok()) queue_.Fail(status);
  queue_.FinishBlock(unit);
  return status;
}

}  // namespace autodist
