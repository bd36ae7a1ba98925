// Work that is cut into blocks, done by several threads with a buffer each.

#ifndef AUTODIST_TABLES_WRITING_PARALLEL_BLOCKS_H_
#define AUTODIST_TABLES_WRITING_PARALLEL_BLOCKS_H_

#include <cstdint>
#include <functional>

#include "tables/outcome.h"

namespace autodist {

// Calls work(block, buffer) once for each block in [0, count), in this thread and up to
// `threads` - 1 others. `buffer` has `buffer_bytes` bytes, and is the thread's own. After an
// outcome that is not good no block is begun; the first such outcome is returned. If the process
// may start no more threads, or has no memory for their buffers, fewer do the work.
Outcome ForEachBlock(int64_t count, int threads, int64_t buffer_bytes,
                     const std::function<Outcome(int64_t block, char* buffer)>& work);

}  // namespace autodist

#endif  // AUTODIST_TABLES_WRITING_PARALLEL_BLOCKS_H_
