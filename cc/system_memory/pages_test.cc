#include "system_memory/pages.h"

#include <cstdint>
#include <fstream>

#include "core/testing/testing.h"
#include "system_memory/testing_pages.h"

namespace autodist {
namespace {

using testing::GuardedMemory;

constexpr int64_t kSize = GuardedMemory::kSize;

bool IsKnownToTheSystem() {
  return std::ifstream("/sys/kernel/mm/transparent_hugepage/enabled").good();
}

TEST(HugePagesAreWantedFromTheFirstToTheLastSmallPage) {
  const GuardedMemory memory;
  // As an allocator gives it, beside what it notes for itself.
  UseHugePages(memory.begin() + 64, kSize - 3 * kMemoryPageBytes);
  EXPECT_EQ(memory.huge().wanted, IsKnownToTheSystem() ? kSize - 2 * kMemoryPageBytes : 0);
  memory.Fill();
  // There may be none free.
  EXPECT_TRUE(memory.huge().present == 0 || HasHugePages());
  EXPECT_TRUE(memory.IsAsFilled());
}

TEST(MemoryWithoutAWholeHugePageIsLeftAlone) {
  const GuardedMemory memory;
  UseHugePages(memory.begin(), 0);
  UseHugePages(memory.begin(), kMemoryPageBytes);
  // The first huge page of `memory` begins after less than one.
  const intptr_t begin = reinterpret_cast<intptr_t>(memory.begin());
  char* const huge = memory.begin() + (-begin & (kHugePageBytes - 1));
  UseHugePages(huge, kHugePageBytes - 1);
  UseHugePages(huge + 1, kHugePageBytes);
  EXPECT_EQ(memory.huge().wanted, 0);
  UseHugePages(huge, kHugePageBytes);
  EXPECT_EQ(memory.huge().wanted, IsKnownToTheSystem() ? kHugePageBytes : 0);
}

}  // namespace
}  // namespace autodist
