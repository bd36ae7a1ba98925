#include "threads/block.h"

#include "tensorflow/core/platform/cpu_info.h"

namespace autodist {
namespace {

// More threads than this are not faster on one file.
constexpr int kMostThreads = 4;

}  // namespace

int ThreadCount(int wanted, int64_t size_bytes) {
  if (wanted == 0) wanted = std::min(kMostThreads, tsl::port::NumSchedulableCPUs());
  const int64_t useful = std::max<int64_t>(1, BlockCount(size_bytes));
  return static_cast<int>(std::clamp<int64_t>(wanted, 1, useful));
}

}  // namespace autodist
