// The threads of a save or a restore: each takes tasks from the queue (task_queue.h) and has a
// block of memory for them. An error, or an exception, in one of them ends all.

#ifndef AUTODIST_BUNDLE_TASK_THREADS_H_
#define AUTODIST_BUNDLE_TASK_THREADS_H_

#include <atomic>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "bundle/file_plan.h"
#include "bundle/task_queue.h"

namespace autodist {

// What is done for a task. Called from all threads; may throw.
class TaskWork {
 public:
  virtual ~TaskWork() = default;

  // `buffer` has room for a block. For a kBlocks task: opens the unit and calls ShareBlocks().
  virtual absl::Status DoTask(const Task& task, char* buffer) = 0;

  // A block of a unit that DoTask() has open.
  virtual absl::Status DoBlock(OpenUnit* unit, int64_t block, char* buffer) = 0;
};

class TaskThreads {
 public:
  // `tasks` and `work` outlive this. `cancelled` may be null; once it is true Run() fails.
  TaskThreads(const std::vector<Task>* tasks, TaskWork* work, const std::atomic<bool>* cancelled)
      : tasks_(*tasks), work_(*work), queue_(tasks, cancelled) {}

  // Does all tasks in up to `count` threads, this one included. Once. Returns the first error.
  absl::Status Run(int count);

  // From DoTask(): has all threads do the blocks of `unit`. Whatever happens, nobody uses the unit
  // any more when this returns; the error may be that of another thread.
  absl::Status ShareBlocks(OpenUnit* unit, char* buffer);

  absl::Status CheckCancelled() { return queue_.CheckCancelled(); }

 private:
  absl::Status WorkUntilDone(int thread);
  absl::Status DoBlock(OpenUnit* unit, int64_t block, char* buffer) noexcept;

  const std::vector<Task>& tasks_;
  TaskWork& work_;
  TaskQueue queue_;
};

}  // namespace autodist

#endif  // AUTODIST_BUNDLE_TASK_THREADS_H_
