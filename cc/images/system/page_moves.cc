// Moves memory to huge pages of 2 MiB. The header tells why.

#include "images/system/page_moves.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "system_memory/available_memory.h"
#include "system_memory/pages.h"

// Headers older than Linux 6.1 lack this.
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

namespace autodist {
namespace {

// The kernel needs memory for a page before it frees those that the page replaces.
constexpr int64_t kLeastMemory = 256 << 20;

// How many bytes of each range have been moved. A range that was freed stays noted. So a new range
// at the same address and of the same size counts as moved.
class Moved {
 public:
  static Moved& Get() {
    static auto* const moved = new Moved;
    return *moved;
  }

  std::mutex& mutex() { return mutex_; }
  // By first byte and size: the bytes that are done.
  int64_t& operator[](const MemoryRange& range) { return done_[{range.begin, range.size}]; }

 private:
  std::mutex mutex_;
  std::map<std::pair<char*, int64_t>, int64_t> done_;
};

constexpr std::chrono::seconds kLongestMove(120);
constexpr int kLowPriority = 10;

std::atomic<int> holders{0};
std::atomic<bool> moves_in_background{false};

int64_t RoundUp(int64_t number) { return (number + kHugePageBytes - 1) & -kHugePageBytes; }

// Moves the page at `at`. Returns false if other pages would fail, too.
bool Collapse(char* at) {
  if (madvise(at, kHugePageBytes, MADV_COLLAPSE) == 0) return true;
  // EINVAL: the system cannot do it, or not with this memory. ENOMEM: no huge page is free.
  return errno != EINVAL && errno != ENOMEM;
}

}  // namespace

void MoveToHugePages(absl::Span<const MemoryRange> ranges, Moves moves,
                     std::chrono::steady_clock::time_point until) {
  if (!HasHugePages() || AvailableMemory() < kLeastMemory) return;
  // One thread at a time: a second one would move the same pages.
  std::lock_guard<std::mutex> lock(Moved::Get().mutex());
  for (const MemoryRange& range : ranges) {
    const int64_t begin = reinterpret_cast<intptr_t>(range.begin);
    const int64_t first = RoundUp(begin);
    const int64_t last = (begin + range.size) & -kHugePageBytes;
    int64_t& done = Moved::Get()[range];
    // The kernel passes over pages that are huge already.
    if (moves == Moves::kAgain) done = 0;
    if (first + done >= last) continue;
    if (std::chrono::steady_clock::now() > until) return;
    // Has the kernel keep the pages huge.
    madvise(reinterpret_cast<void*>(first), static_cast<size_t>(last - first), MADV_HUGEPAGE);
    for (; first + done < last; done += kHugePageBytes) {
      if (holders > 0 || std::chrono::steady_clock::now() > until) return;
      if (!Collapse(reinterpret_cast<char*>(first + done))) return;
    }
  }
}

void MoveToHugePagesInBackground(std::vector<MemoryRange> ranges, Moves moves) {
  if (ranges.empty() || moves_in_background.exchange(true)) return;
  try {
    std::thread([ranges = std::move(ranges), moves] {
      setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kLowPriority);
      MoveToHugePages(ranges, moves, std::chrono::steady_clock::now() + kLongestMove);
      moves_in_background = false;
    }).detach();
  } catch (const std::system_error&) {
    // The process is at its limit of threads. A later image tries again.
    moves_in_background = false;
  }
}

MovesHeld::MovesHeld() { ++holders; }

MovesHeld::~MovesHeld() { --holders; }

}  // namespace autodist
