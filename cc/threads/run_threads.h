// Runs a function in several threads, of which none can end the process.

#ifndef AUTODIST_THREADS_RUN_THREADS_H_
#define AUTODIST_THREADS_RUN_THREADS_H_

#include <functional>

#include "absl/status/status.h"

namespace autodist {

// Calls `work` in this thread, with 0, and in up to `count` - 1 others, with their number; returns
// when all are done. If the process may start no more threads, or has no memory for them, fewer do
// the same work. What `work` throws becomes its status (guarded.h). Each thread calls `stop`, which
// does not throw, with its status if that is not ok. So the others end early. Returns the first
// such status.
absl::Status RunThreads(int count, const std::function<absl::Status(int thread)>& work,
                        const std::function<void(const absl::Status&)>& stop);

}  // namespace autodist

#endif  // AUTODIST_THREADS_RUN_THREADS_H_
