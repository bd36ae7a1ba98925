// Hands the jobs of a save or a restore to its threads.
//
// Threads take jobs in file order. One thread opens a unit that is too large for one block: its
// owner, which acquires the values. All threads then share its blocks. The owner alone releases the
// values, once every block is written. While a unit has blocks to take, threads take those before
// they open another unit, so that a locked variable is finished as soon as possible. While a unit
// is being opened the others wait for its blocks.
//
// An owner may hold locks while it waits for threads that work on blocks. Such a thread waits for
// nothing but the file, so there is no deadlock.

#ifndef AUTODIST_THREADS_JOB_QUEUE_H_
#define AUTODIST_THREADS_JOB_QUEUE_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "threads/job.h"

namespace autodist {

// A large unit while its blocks are being worked on.
struct OpenUnit {
  int unit;
  int64_t block_count;
  int64_t next_block = 0;
  int64_t unfinished_blocks = 0;  // taken and not yet written
};

// Thread-safe.
class JobQueue {
 public:
  struct Work {
    enum class Kind { kNone, kJob, kBlock };
    Kind kind = Kind::kNone;
    int job = 0;               // kJob
    OpenUnit* unit = nullptr;  // kBlock
    int64_t block = 0;
  };

  // `cancelled` may be null; once it is true the queue fails.
  JobQueue(const std::vector<Job>* jobs, const std::atomic<bool>* cancelled)
      : jobs_(*jobs), cancelled_(cancelled) {}

  // What to do next; kNone when there is nothing left or the save has failed. Whoever takes a
  // kBlocks job must call Open() or Fail().
  Work Next();

  // Offers the blocks of `unit`, which the caller owns, to all threads.
  void Open(OpenUnit* unit);
  // A block of this unit for its owner; false when all are taken or the save has failed.
  bool TakeBlock(OpenUnit* unit, int64_t* block);
  void FinishBlock(OpenUnit* unit);
  // Returns once no thread works on `unit` any more.
  void Close(OpenUnit* unit);

  // Stops the save; the first status is kept.
  void Fail(absl::Status status);
  absl::Status status();
  // Returns status(), after it has checked whether the save was cancelled.
  absl::Status CheckCancelled();

 private:
  bool HasFailed();  // REQUIRES: mutex_ is held
  void TakeBlockLocked(OpenUnit* unit, int64_t* block);

  const std::vector<Job>& jobs_;
  const std::atomic<bool>* const cancelled_;
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t next_job_ = 0;
  bool is_opening_ = false;
  OpenUnit* open_ = nullptr;  // the unit with blocks to take, if any
  absl::Status status_;
};

}  // namespace autodist

#endif  // AUTODIST_THREADS_JOB_QUEUE_H_
