// Memory for tests of huge pages, and what the system says of it.

#ifndef AUTODIST_SYSTEM_MEMORY_TESTING_PAGES_H_
#define AUTODIST_SYSTEM_MEMORY_TESTING_PAGES_H_

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include "system_memory/pages.h"

namespace autodist {
namespace testing {

// New memory between pages that nobody may use, so that the system does not list it with others.
class GuardedMemory {
 public:
  static constexpr int64_t kSize = 9 << 20;

  GuardedMemory() {
    void* const mapped =
        mmap(nullptr, kSize + 2 * kMemoryPageBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    begin_ = static_cast<char*>(mapped) + kMemoryPageBytes;
    mprotect(begin_, kSize, PROT_READ | PROT_WRITE);
  }
  ~GuardedMemory() { munmap(begin_ - kMemoryPageBytes, kSize + 2 * kMemoryPageBytes); }
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;

  char* begin() const { return begin_; }

  // Writes a value to each byte.
  void Fill() const {
    for (int64_t i = 0; i < kSize; ++i) begin_[i] = ByteAt(i);
  }

  bool IsAsFilled() const {
    for (int64_t i = 0; i < kSize; ++i) {
      if (begin_[i] != ByteAt(i)) return false;
    }
    return true;
  }

  // Bytes of it for which huge pages are wanted, and bytes that are on such pages.
  struct Huge {
    int64_t wanted = 0;
    int64_t present = 0;
  };
  Huge huge() const {
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
  static char ByteAt(int64_t place) { return static_cast<char>(place * 31 + place / 4096); }

  char* begin_;
};

}  // namespace testing
}  // namespace autodist

#endif  // AUTODIST_SYSTEM_MEMORY_TESTING_PAGES_H_
