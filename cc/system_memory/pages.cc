// See the header for what this is for.

#include "system_memory/pages.h"

#include <sys/mman.h>

#include <fstream>
#include <string>

namespace autodist {
namespace {

constexpr int64_t RoundUp(int64_t number, int64_t unit) { return (number + unit - 1) & -unit; }

}  // namespace

bool HasHugePages() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string modes;
  return std::getline(file, modes) && modes.find("[never]") == std::string::npos;
}

void UseHugePages(void* begin, int64_t size_bytes) {
  const int64_t first = reinterpret_cast<intptr_t>(begin);
  const int64_t last = first + size_bytes;
  if (RoundUp(first, kHugePageBytes) + kHugePageBytes > last) return;
  // To the ends of the small pages: so the system can join neighbours, which it counts (there is a
  // limit) and which may then share a huge page.
  const int64_t first_page = first & -kMemoryPageBytes;
  const int64_t size = RoundUp(last, kMemoryPageBytes) - first_page;
  madvise(reinterpret_cast<void*>(first_page), static_cast<size_t>(size), MADV_HUGEPAGE);
}

}  // namespace autodist
