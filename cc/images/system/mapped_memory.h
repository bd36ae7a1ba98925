// Memory from the system, mapped and touched, so that a write to it does not wait for a page.

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

  // Once. ResourceExhausted if there is not as much.
  absl::Status Map(int64_t size_bytes);

  // Gives whole pages of [begin, begin + size) back to the system; they read as zeros.
  static void GiveBack(char* begin, int64_t size);

  char* begin() const { return begin_; }
  int64_t size() const { return size_; }

 private:
  // Of the whole memory, a part at a time. False: the system does not take the advice.
  bool Advise(int advice);

  char* begin_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace autodist

#endif  // AUTODIST_IMAGES_SYSTEM_MAPPED_MEMORY_H_
