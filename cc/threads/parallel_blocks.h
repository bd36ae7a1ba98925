// Does the same work for many blocks, in several threads with a buffer each.

#ifndef AUTODIST_THREADS_PARALLEL_BLOCKS_H_
#define AUTODIST_THREADS_PARALLEL_BLOCKS_H_

#include <atomic>
#include <cstdint>
#include <functional>

#include "absl/status/status.h"

namespace autodist {

// Calls work(number of a block, memory for one) for each of `count` blocks. Returns the first error
// met; Cancelled once `cancelled`, which may be null, is true.
absl::Status ForEachBlock(int64_t count, int threads, const std::atomic<bool>* cancelled,
                          const std::function<absl::Status(int64_t block, char* buffer)>& work);

}  // namespace autodist

#endif  // AUTODIST_THREADS_PARALLEL_BLOCKS_H_
