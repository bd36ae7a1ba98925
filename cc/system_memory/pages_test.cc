#include "system_memory/pages.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include "core/testing/testing.h"

namespace autodist {
namespace {

constexpr int64_t kSize = 9 << 20;

// New memory between pages that nobody may use, so that the system does not list it with others.
class NewMemory {
 public:
  NewMemory() {
    void* const mapped =
        mmap(nullptr, kSize + 2 * kMemoryPageBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    begin_ = static_cast<char*>(mapped) + kMemoryPageBytes;
    mprotect(begin_, kSize, PROT_READ | PROT_WRITE);
  }
  ~NewMemory() { munmap(begin_ - kMemoryPageBytes, kSize + 2 * kMemoryPageBytes); }

  char* begin() const { return begin_; }

  // Bytes of it for which huge pages are wanted, and bytes that are on such pages.
  struct Huge {
    int64_t wanted = 0;
    int64_t present = 0;
  };
  Huge ask() const {
    std::ifstream maps("/proc/self/smaps");
    std::string line;
    Huge huge;
    int64_t size = 0;
    while (std::getline(maps, line)) {
      uint64_t first, last;
      if (std::sscanf(line.c_str(), "%lx-%lx ", &first, &last) == 2) {
        const bool is_inside = first < reinterpret_cast<uint64_t>(begin_ + kSize) &&
                               last > reinterpret_cast<uint64_t>(begin_);
        size = is_inside ? static_cast<int64_t>(last - first) : 0;
      }
      std::istringstream words(line);
      std::string name;
      words >> name;
      int64_t kibibytes;
      if (size > 0 && name == "AnonHugePages:" && words >> kibibytes) {
        huge.present += kibibytes * 1024;
      }
      std::string flag;
      while (size > 0 && name == "VmFlags:" && words >> flag) {
        if (flag == "hg") huge.wanted += size;
      }
    }
    return huge;
  }

 private:
  char* begin_;
};

bool IsKnownToTheSystem() {
  return std::ifstream("/sys/kernel/mm/transparent_hugepage/enabled").good();
}

TEST(HugePagesAreWantedFromTheFirstToTheLastSmallPage) {
  const NewMemory memory;
  // As an allocator gives it, beside what it notes for itself.
  UseHugePages(memory.begin() + 64, kSize - 3 * kMemoryPageBytes);
  EXPECT_EQ(memory.ask().wanted, IsKnownToTheSystem() ? kSize - 2 * kMemoryPageBytes : 0);
  for (int64_t i = 0; i < kSize; ++i) memory.begin()[i] = static_cast<char>(i * 31 + i / 4096);
  // There may be none free.
  EXPECT_TRUE(memory.ask().present == 0 || HasHugePages());
  for (int64_t i = 0; i < kSize; ++i) {
    if (memory.begin()[i] != static_cast<char>(i * 31 + i / 4096)) {
      EXPECT_EQ(i, -1);
      break;
    }
  }
}

TEST(MemoryWithoutAWholeHugePageIsLeftAlone) {
  const NewMemory memory;
  UseHugePages(memory.begin(), 0);
  UseHugePages(memory.begin(), kMemoryPageBytes);
  // The first huge page of `memory` begins after less than one.
  const intptr_t begin = reinterpret_cast<intptr_t>(memory.begin());
  char* const huge = memory.begin() + (-begin & (kHugePageBytes - 1));
  UseHugePages(huge, kHugePageBytes - 1);
  UseHugePages(huge + 1, kHugePageBytes);
  EXPECT_EQ(memory.ask().wanted, 0);
  UseHugePages(huge, kHugePageBytes);
  EXPECT_EQ(memory.ask().wanted, IsKnownToTheSystem() ? kHugePageBytes : 0);
}

}  // namespace
}  // namespace autodist
