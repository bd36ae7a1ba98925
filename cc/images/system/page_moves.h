// Moves memory to huge pages, so that there are few pages to protect.

#ifndef AUTODIST_IMAGES_SYSTEM_PAGE_MOVES_H_
#define AUTODIST_IMAGES_SYSTEM_PAGE_MOVES_H_

#include <chrono>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "images/memory_image.h"

namespace autodist {

// Which ranges are moved.
enum class Moves {
  kOnce,   // each once in its life: what is written to in small parts splits its pages again
  kAgain,  // also those whose pages were split since
};

// Moves memory to huge pages until a point in time, or until somebody has MovesHeld: a later call
// goes on. Whoever writes to the memory goes on meanwhile. Where that fails nothing is changed.
void MoveToHugePages(absl::Span<const MemoryRange> ranges, Moves moves,
                     std::chrono::steady_clock::time_point until);

// The same on a thread of its own, which has a low priority. The memory may be freed meanwhile: the
// kernel moves what lies there, and its bytes stay.
void MoveToHugePagesInBackground(std::vector<MemoryRange> ranges, Moves moves);

// While one exists, the thread in the background moves nothing. Each move stops for a moment
// whoever else asks the kernel for memory.
class MovesHeld {
 public:
  MovesHeld();
  ~MovesHeld();
  MovesHeld(const MovesHeld&) = delete;
  MovesHeld& operator=(const MovesHeld&) = delete;
};

}  // namespace autodist

#endif  // AUTODIST_IMAGES_SYSTEM_PAGE_MOVES_H_
