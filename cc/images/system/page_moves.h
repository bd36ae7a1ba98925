// Moves memory to huge pages of 2 MiB. There are fewer of them to protect than of 4 KiB.

#ifndef AUTODIST_IMAGES_SYSTEM_PAGE_MOVES_H_
#define AUTODIST_IMAGES_SYSTEM_PAGE_MOVES_H_

#include <chrono>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "images/memory_image.h"

namespace autodist {

// How often a range is moved.
enum class Moves {
  kOnce,   // each range once in the life of the process: small chunks split its pages again
  kAgain,  // also a range that was moved before: its pages may have been split since
};

// Moves memory to huge pages. Stops at `until`, or when a MovesHeld exists; a later call goes on
// from there. Other threads may write to the memory meanwhile. What cannot be moved stays as it is.
void MoveToHugePages(absl::Span<const MemoryRange> ranges, Moves moves,
                     std::chrono::steady_clock::time_point until);

// The same on a thread of its own, with low priority. The memory may be freed meanwhile: the kernel
// then moves whatever lies there, and does not change its bytes.
void MoveToHugePagesInBackground(std::vector<MemoryRange> ranges, Moves moves);

// While one exists, no memory is moved. An image holds one, because a move stops all threads for a
// moment that ask the kernel for memory.
class MovesHeld {
 public:
  MovesHeld();
  ~MovesHeld();
  MovesHeld(const MovesHeld&) = delete;
  MovesHeld& operator=(const MovesHeld&) = delete;
};

}  // namespace autodist

#endif  // AUTODIST_IMAGES_SYSTEM_PAGE_MOVES_H_
