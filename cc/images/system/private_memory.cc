// Whether memory belongs to this process alone.

#include "images/system/private_memory.h"

#include <algorithm>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <vector>

namespace autodist {
namespace {

struct CloseFile {
  void operator()(FILE* file) const { std::fclose(file); }
};

}  // namespace

absl::Status CheckPrivate(absl::Span<const MemoryRange> ranges) {
  std::vector<MemoryRange> sorted(ranges.begin(), ranges.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const MemoryRange& a, const MemoryRange& b) { return a.begin < b.begin; });
  const std::unique_ptr<FILE, CloseFile> maps(std::fopen("/proc/self/maps", "re"));
  if (maps == nullptr) return absl::FailedPreconditionError("cannot read /proc/self/maps");
  char line[4096];
  auto next = sorted.begin();
  while (std::fgets(line, sizeof line, maps.get()) != nullptr) {
    uint64_t first = 0, last = 0;
    char permissions[5] = "";
    // The rest of a long line is none of this form.
    if (std::sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &first, &last, permissions) != 3) continue;
    while (next != sorted.end() && reinterpret_cast<uint64_t>(next->begin + next->size) <= first) {
      ++next;
    }
    const bool is_hit = next != sorted.end() && reinterpret_cast<uint64_t>(next->begin) < last;
    if (is_hit && permissions[3] != 'p') {
      return absl::FailedPreconditionError("a variable lies in memory that processes share");
    }
  }
  return absl::OkStatus();
}

}  // namespace autodist
