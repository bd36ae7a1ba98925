// The sizes of pages of memory, and huge pages for memory that is about to be filled.

#ifndef AUTODIST_SYSTEM_MEMORY_PAGES_H_
#define AUTODIST_SYSTEM_MEMORY_PAGES_H_

#include <cstdint>

namespace autodist {

constexpr int64_t kMemoryPageBytes = 4096;
constexpr int64_t kHugePageBytes = 2 << 20;

// Whether the system has huge pages and a use for ours: it was not told "never".
bool HasHugePages();

// Asks the system for huge pages under memory that nobody has written to yet. The first write to
// each page then takes 2 MiB at once, not 4 KiB. Memory without a whole huge page is left alone.
// Where the system has none, or none is free, nothing changes.
void UseHugePages(void* begin, int64_t size_bytes);

}  // namespace autodist

#endif  // AUTODIST_SYSTEM_MEMORY_PAGES_H_
