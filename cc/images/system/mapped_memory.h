// Memory that is mapped and touched, so that a later write to it does not wait for the kernel.

#ifndef AUTODIST_IMAGES_SYSTEM_MAPPED_MEMORY_H_
#define AUTODIST_IMAGES_SYSTEM_MAPPED_MEMORY_H_

#include <cstdint>

#include "absl/status/status.h"

namespace autodist {

class MappedMemory {
 public:
  MappedMemory() = default;
  ~MappedMemory();
  MappedMemory(const MappedMemory&) = delete;
  MappedMemory& operator=(const MappedMemory&) = delete;

  // Maps and touches the memory. REQUIRES: was not called before. ResourceExhausted if the system
  // has less.
  absl::Status Map(int64_t size_bytes);

  // Gives the whole pages in [begin, begin + size) back to the system. They then read as zeros.
  static void GiveBack(char* begin, int64_t size);

  char* begin() const { return begin_; }
  int64_t size() const { return size_; }

 private:
  // Calls madvise(2) for all of the memory, a part at a time. Returns false if the system refuses.
  bool Advise(int advice);

  char* begin_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace autodist

#endif  // AUTODIST_IMAGES_SYSTEM_MAPPED_MEMORY_H_
