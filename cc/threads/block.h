// The portions in which data files are read and written.

#ifndef AUTODIST_THREADS_BLOCK_H_
#define AUTODIST_THREADS_BLOCK_H_

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace autodist {

// Small enough for a core's cache, large enough that a system call's cost does not show.
inline constexpr int64_t kBlockBytes = int64_t{1} << 20;

inline int64_t BlockCount(int64_t size_bytes) {
  return (size_bytes + kBlockBytes - 1) / kBlockBytes;
}

inline int64_t BlockSize(int64_t size_bytes, int64_t block) {
  return std::min(kBlockBytes, size_bytes - block * kBlockBytes);
}

// How many threads read or write `size_bytes`: `wanted` of them, or if that is 0 as many as the
// machine can use. All its processors read; few write, because Linux lets one thread at a time
// write to a file. Never more than there are blocks.
int ReadingThreads(int wanted, int64_t size_bytes);
int WritingThreads(int wanted, int64_t size_bytes);

// A thread's own block; data() is null where there was no memory for it.
class BlockBuffer {
 public:
  BlockBuffer() : bytes_(static_cast<char*>(std::aligned_alloc(4096, kBlockBytes)), &std::free) {}
  char* data() { return bytes_.get(); }

 private:
  std::unique_ptr<char, decltype(&std::free)> bytes_;
};

}  // namespace autodist

#endif  // AUTODIST_THREADS_BLOCK_H_
