#include "images/system/page_moves.h"

#include <sys/mman.h>

#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "core/testing/testing.h"
#include "system_memory/pages.h"
#include "system_memory/testing_pages.h"

namespace autodist {
namespace {

constexpr int64_t kSize = testing::GuardedMemory::kSize;

// Memory on small pages, with a value in each byte.
class SmallPages {
 public:
  SmallPages() {
    madvise(memory_.begin(), kSize, MADV_NOHUGEPAGE);
    memory_.Fill();
  }

  // Another one for each margin. A range that was moved once is not moved again, and the memory of
  // the next test may lie in the place of this.
  MemoryRange range(int64_t margin = 4096) const {
    return {memory_.begin() + margin, kSize - 2 * margin};
  }

  // Splits the huge pages, as one of another use of a part of it would.
  void Split() const {
    const intptr_t middle = reinterpret_cast<intptr_t>(memory_.begin()) + kSize / 2;
    char* const at = reinterpret_cast<char*>(middle & -kMemoryPageBytes);
    mprotect(at, kMemoryPageBytes, PROT_READ);
    mprotect(at, kMemoryPageBytes, PROT_READ | PROT_WRITE);
  }

  bool IsAsFilled() const { return memory_.IsAsFilled(); }

  // How much of it is on huge pages, as the system says.
  int64_t HugeBytes() const { return memory_.huge().present; }

 private:
  const testing::GuardedMemory memory_;
};

// Of the whole huge pages that lie in a range: where it begins decides how many these are.
int64_t WholePages(const MemoryRange& range) {
  const auto first = reinterpret_cast<intptr_t>(range.begin);
  const intptr_t last = first + range.size;
  return (last & -kHugePageBytes) - ((first + kHugePageBytes - 1) & -kHugePageBytes);
}

std::chrono::steady_clock::time_point After(std::chrono::seconds time) {
  return std::chrono::steady_clock::now() + time;
}

TEST(MemoryIsMovedAndStaysAsItIs) {
  const SmallPages memory;
  EXPECT_EQ(memory.HugeBytes(), 0);
  const std::vector<MemoryRange> ranges = {memory.range()};
  // Without time a part of it or nothing is moved.
  MoveToHugePages(ranges, Moves::kOnce, After(std::chrono::seconds(-1)));
  EXPECT_EQ(memory.HugeBytes(), 0);
  MoveToHugePages(ranges, Moves::kOnce, After(std::chrono::seconds(60)));
  EXPECT_TRUE(memory.IsAsFilled());
  const int64_t moved = memory.HugeBytes();
  // Some systems have none to give; where there is one, there are all.
  EXPECT_TRUE(moved == 0 || moved >= kSize - 3 * kHugePageBytes);
  EXPECT_TRUE(moved == 0 || HasHugePages());
}

TEST(AThreadMovesMemoryUnlessThatIsHeld) {
  const SmallPages memory, other;
  const MemoryRange range = memory.range(8192), other_range = other.range(8192);
  {
    const MovesHeld held;
    MoveToHugePages(std::vector<MemoryRange>{range}, Moves::kOnce, After(std::chrono::seconds(60)));
    EXPECT_EQ(memory.HugeBytes(), 0);
  }
  MoveToHugePages(std::vector<MemoryRange>{other_range}, Moves::kOnce,
                  After(std::chrono::seconds(60)));
  // Where the system has some for the one, it has for the other.
  const bool has_some = other.HugeBytes() > 0;
  EXPECT_EQ(other.HugeBytes(), has_some ? WholePages(other_range) : 0);
  const int64_t wanted = has_some ? WholePages(range) : 0;
  const auto end = After(std::chrono::seconds(60));
  do {
    // Does nothing while a thread moves what another test has left to it.
    MoveToHugePagesInBackground({range}, Moves::kOnce);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  } while (memory.HugeBytes() != wanted && std::chrono::steady_clock::now() < end);
  EXPECT_EQ(memory.HugeBytes(), wanted);
  EXPECT_TRUE(memory.IsAsFilled());
}

TEST(PagesThatWereSplitAreMovedAgainOnDemand) {
  const SmallPages memory;
  const std::vector<MemoryRange> ranges = {memory.range()};
  MoveToHugePages(ranges, Moves::kOnce, After(std::chrono::seconds(60)));
  const int64_t moved = memory.HugeBytes();
  if (moved == 0) return;  // the system has none
  memory.Split();
  const int64_t left = memory.HugeBytes();
  EXPECT_TRUE(left < moved);
  MoveToHugePages(ranges, Moves::kOnce, After(std::chrono::seconds(60)));
  EXPECT_EQ(memory.HugeBytes(), left);
  MoveToHugePages(ranges, Moves::kAgain, After(std::chrono::seconds(60)));
  EXPECT_EQ(memory.HugeBytes(), moved);
  EXPECT_TRUE(memory.IsAsFilled());
}

TEST(AShortRangeIsLeftAlone) {
  const SmallPages memory;
  MoveToHugePages(std::vector<MemoryRange>{{memory.range().begin, 4096}}, Moves::kOnce,
                  After(std::chrono::seconds(60)));
  EXPECT_EQ(memory.HugeBytes(), 0);
  EXPECT_TRUE(memory.IsAsFilled());
}

}  // namespace
}  // namespace autodist
