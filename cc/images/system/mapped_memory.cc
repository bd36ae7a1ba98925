// Memory that is mapped and touched, so that a later write to it does not wait for the kernel.

#include "images/system/mapped_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "images/chunks.h"

// Headers older than Linux 5.14 lack this.
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace autodist {
namespace {

// The kernel holds a lock of the whole process during a call. A training thread that maps or unmaps
// memory waits for it, so each call is for a small part.
constexpr int64_t kAdvisedBytes = 4 << 20;

}  // namespace

MappedMemory::~MappedMemory() {
  if (begin_ == nullptr) return;
  Advise(MADV_DONTNEED);
  munmap(begin_, static_cast<size_t>(size_));
}

bool MappedMemory::Advise(int advice) {
  for (int64_t at = 0; at < size_; at += kAdvisedBytes) {
    const int64_t size = std::min(kAdvisedBytes, size_ - at);
    if (madvise(begin_ + at, static_cast<size_t>(size), advice) != 0) return false;
  }
  return true;
}

absl::Status MappedMemory::Map(int64_t size_bytes) {
  if (size_bytes == 0) return absl::OkStatus();
  void* const mapped = mmap(nullptr, static_cast<size_t>(size_bytes), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no ", size_bytes, " bytes of memory: ", std::strerror(errno)));
  }
  begin_ = static_cast<char*>(mapped);
  size_ = size_bytes;
  if (Advise(MADV_POPULATE_WRITE)) return absl::OkStatus();
  for (int64_t at = 0; at < size_; at += kMemoryPageBytes) {
    static_cast<volatile char*>(begin_)[at] = 0;
  }
  return absl::OkStatus();
}

void MappedMemory::GiveBack(char* begin, int64_t size) {
  const intptr_t mask = kMemoryPageBytes - 1;
  const intptr_t first = (reinterpret_cast<intptr_t>(begin) + mask) & ~mask;
  const intptr_t last = reinterpret_cast<intptr_t>(begin + size) & ~mask;
  if (first >= last) return;
  madvise(reinterpret_cast<void*>(first), static_cast<size_t>(last - first), MADV_DONTNEED);
}

}  // namespace autodist
