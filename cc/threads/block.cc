#include "threads/block.h"

#include "tensorflow/core/platform/cpu_info.h"

namespace autodist {
namespace {

// While one writes to the file, these have the next blocks ready.
constexpr int kMostWritingThreads = 4;

int ThreadsFor(int count, int64_t size_bytes) {
  const int64_t useful = std::max<int64_t>(1, BlockCount(size_bytes));
  return static_cast<int>(std::clamp<int64_t>(count, 1, useful));
}

}  // namespace

int ReadingThreads(int wanted, int64_t size_bytes) {
  return ThreadsFor(wanted == 0 ? tsl::port::NumSchedulableCPUs() : wanted, size_bytes);
}

int WritingThreads(int wanted, int64_t size_bytes) {
  if (wanted == 0) wanted = std::min(kMostWritingThreads, tsl::port::NumSchedulableCPUs());
  return ThreadsFor(wanted, size_bytes);
}

}  // namespace autodist
