// See the header for what this is for.

#include "bundle/parallel_blocks.h"

#include <mutex>
#include <new>

#include "bundle/block.h"
#include "bundle/threads.h"

namespace autodist {

absl::Status ForEachBlock(int64_t count, int threads, const std::atomic<bool>* cancelled,
                          const std::function<absl::Status(int64_t block, char* buffer)>& work) {
  std::atomic<int64_t> next{0};
  std::atomic<bool> has_failed{false};
  std::mutex mutex;
  absl::Status first_error;
  const auto fail = [&](absl::Status status) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (first_error.ok()) first_error = std::move(status);
    has_failed = true;
  };
  const auto work_until_done = [&] {
    BlockBuffer buffer;
    if (buffer.data() == nullptr) {
      fail(absl::ResourceExhaustedError("no memory for a block of the data file"));
    }
    while (!has_failed) {
      const int64_t block = next++;
      if (block >= count) return;
      if (cancelled != nullptr && *cancelled) return fail(absl::CancelledError("cancelled"));
      absl::Status status = work(block, buffer.data());
      if (!status.ok()) fail(std::move(status));
    }
  };
  RunThreads(threads, [&] {
    try {
      work_until_done();
    } catch (const std::bad_alloc&) {
      // On a thread of ours nobody else would catch it.
      fail(absl::ResourceExhaustedError("no memory to restore"));
    }
  });
  return first_error;
}

}  // namespace autodist
