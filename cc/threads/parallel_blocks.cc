// Does the same work for many blocks, in several threads with a buffer each.

#include "threads/parallel_blocks.h"

#include "threads/block.h"
#include "threads/guarded.h"
#include "threads/run_threads.h"

namespace autodist {

absl::Status ForEachBlock(int64_t count, int threads, const std::atomic<bool>* cancelled,
                          const std::function<absl::Status(int64_t block, char* buffer)>& work) {
  std::atomic<int64_t> next{0};
  std::atomic<bool> has_failed{false};
  const auto work_until_done = [&](int thread) -> absl::Status {
    BlockBuffer buffer;
    if (buffer.data() == nullptr) {
      // The others do the work where only they have memory for it.
      return thread == 0 ? NoMemory() : absl::OkStatus();
    }
    while (!has_failed) {
      const int64_t block = next++;
      if (block >= count) break;
      if (cancelled != nullptr && *cancelled) return absl::CancelledError("cancelled");
      absl::Status status = work(block, buffer.data());
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  };
  return RunThreads(threads, work_until_done, [&](const absl::Status&) { has_failed = true; });
}

}  // namespace autodist
