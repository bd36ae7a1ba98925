// The threads of a save or a restore: each takes jobs from the queue (job_queue.h) and has a
// block of memory for them. An error, or an exception, in one of them ends all.

#ifndef AUTODIST_THREADS_JOB_THREADS_H_
#define AUTODIST_THREADS_JOB_THREADS_H_

#include <atomic>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "threads/job.h"
#include "threads/job_queue.h"

namespace autodist {

// Does the jobs. Called from all threads; may throw.
class JobWork {
 public:
  virtual ~JobWork() = default;

  // `buffer` has room for a block. For a kBlocks job: opens the unit and calls ShareBlocks().
  virtual absl::Status DoJob(const Job& job, char* buffer) = 0;

  // A block of a unit that DoJob() has open.
  virtual absl::Status DoBlock(OpenUnit* unit, int64_t block, char* buffer) = 0;
};

class JobThreads {
 public:
  // `jobs` and `work` outlive this. `cancelled` may be null; once it is true Run() fails.
  JobThreads(const std::vector<Job>* jobs, JobWork* work, const std::atomic<bool>* cancelled)
      : jobs_(*jobs), work_(*work), queue_(jobs, cancelled) {}

  // Does all jobs in up to `count` threads, this one included. Once. Returns the first error.
  absl::Status Run(int count);

  // To be called from DoJob(): all threads do the blocks of `unit`. When this returns, no thread
  // uses the unit any more, also after an error. The error may be that of another thread.
  absl::Status ShareBlocks(OpenUnit* unit, char* buffer);

  absl::Status CheckCancelled() { return queue_.CheckCancelled(); }

 private:
  absl::Status WorkUntilDone(int thread);
  absl::Status DoBlock(OpenUnit* unit, int64_t block, char* buffer) noexcept;

  const std::vector<Job>& jobs_;
  JobWork& work_;
  JobQueue queue_;
};

}  // namespace autodist

#endif  // AUTODIST_THREADS_JOB_THREADS_H_
