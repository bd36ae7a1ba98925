// Memory for copies of chunks that are about to be overwritten: a bounded pool, and then a file.

#ifndef AUTODIST_IMAGES_SIDE_MEMORY_H_
#define AUTODIST_IMAGES_SIDE_MEMORY_H_

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "images/system/mapped_memory.h"

namespace autodist {

class SideMemory {
 public:
  // `slot_bytes` is the most bytes of one copy. The file is in `spill_directory` and has no name.
  // If `spill_directory` is empty, there is no file, and a full pool is an error.
  SideMemory(int64_t slot_bytes, int64_t pool_bytes, std::string spill_directory)
      : slot_bytes_(slot_bytes),
        pool_bytes_(pool_bytes),
        spill_directory_(std::move(spill_directory)) {}
  ~SideMemory();
  SideMemory(const SideMemory&) = delete;
  SideMemory& operator=(const SideMemory&) = delete;

  // Maps the pool and opens the file. The pool has `pool_bytes`, but at most half of the memory
  // that is free now. Later calls allocate nothing.
  absl::Status Prepare();

  // Copies bytes into the pool or the file, and sets *place for Get() and Free(). ResourceExhausted
  // if both are full.
  absl::Status Put(const char* bytes, int64_t size, int64_t* place);

  // Copies `size` bytes, from `offset` of the copy at `place`, to `to`.
  absl::Status Get(int64_t place, int64_t offset, int64_t size, char* to) const;

  // Frees a place in the pool. Does nothing for one in the file.
  void Free(int64_t place);

  // Whether the next copy has room in the pool.
  bool has_room() const { return used_slots_ < slot_count_; }

  int64_t most_bytes() const { return most_slots_ * slot_bytes_; }
  int64_t spilled_bytes() const { return spilled_bytes_; }

 private:
  // Takes a slot of the pool. Returns -1 if it is full.
  int64_t TakeSlot();

  const int64_t slot_bytes_;
  const int64_t pool_bytes_;
  const std::string spill_directory_;
  MappedMemory pool_;
  int spill_ = -1;
  int spill_error_ = ENOENT;  // why there is no file
  std::mutex mutex_;
  std::vector<int64_t> free_;
  int64_t slot_count_ = 0;
  std::atomic<int64_t> used_slots_{0};
  std::atomic<int64_t> most_slots_{0};
  std::atomic<int64_t> spilled_bytes_{0};
  std::atomic<int64_t> next_spill_{0};
};

}  // namespace autodist

#endif  // AUTODIST_IMAGES_SIDE_MEMORY_H_
