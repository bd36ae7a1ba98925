// Memory for copies of chunks that are about to be overwritten: a bounded pool, and then a file.

#include "images/side_memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "system_memory/available_memory.h"

namespace autodist {
namespace {

absl::Status SpillError(absl::string_view what) {
  return absl::ResourceExhaustedError(
      absl::StrCat("the variables are overwritten faster than they are saved, "
                   "snapshot_memory_bytes is used up, and ",
                   what, ": ", std::strerror(errno), ". Give more snapshot_memory_bytes"));
}

}  // namespace

SideMemory::~SideMemory() {
  if (spill_ >= 0) close(spill_);
}

absl::Status SideMemory::Prepare() {
  // The kernel may kill a process that takes all free memory. Copies beyond this go to the file.
  slot_count_ = std::min(pool_bytes_, AvailableMemory() / 2) / slot_bytes_;
  absl::Status status = pool_.Map(slot_count_ * slot_bytes_);
  if (!status.ok()) return status;
  free_.reserve(static_cast<size_t>(slot_count_));
  for (int64_t slot = slot_count_; slot-- > 0;) free_.push_back(slot);
  // Where the directory cannot hold a file without a name, a full pool is an error.
  if (!spill_directory_.empty()) {
    spill_ = open(spill_directory_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (spill_ < 0) spill_error_ = errno;
  }
  return absl::OkStatus();
}

int64_t SideMemory::TakeSlot() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (free_.empty()) return -1;
  const int64_t slot = free_.back();
  free_.pop_back();
  most_slots_ = std::max(most_slots_.load(), ++used_slots_);
  return slot;
}

absl::Status SideMemory::Put(const char* bytes, int64_t size, int64_t* place) {
  const int64_t slot = TakeSlot();
  if (slot >= 0) {
    std::memcpy(pool_.begin() + slot * slot_bytes_, bytes, static_cast<size_t>(size));
    *place = slot;
    return absl::OkStatus();
  }
  if (spill_ < 0) {
    errno = spill_error_;
    return SpillError("no file for more copies can be made in the checkpoint's directory");
  }
  const int64_t number = next_spill_++;
  for (int64_t done = 0; done < size;) {
    const ssize_t put =
        pwrite(spill_, bytes + done, static_cast<size_t>(size - done), number * slot_bytes_ + done);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return SpillError("the file for more copies cannot be written");
    done += put;
  }
  spilled_bytes_ += size;
  *place = slot_count_ + number;
  return absl::OkStatus();
}

absl::Status SideMemory::Get(int64_t place, int64_t offset, int64_t size, char* to) const {
  if (place < slot_count_) {
    std::memcpy(to, pool_.begin() + place * slot_bytes_ + offset, static_cast<size_t>(size));
    return absl::OkStatus();
  }
  for (int64_t done = 0; done < size;) {
    const ssize_t got = pread(spill_, to + done, static_cast<size_t>(size - done),
                              (place - slot_count_) * slot_bytes_ + offset + done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return SpillError("the file for more copies cannot be read");
    done += got;
  }
  return absl::OkStatus();
}

void SideMemory::Free(int64_t place) {
  if (place >= slot_count_) return;
  std::lock_guard<std::mutex> lock(mutex_);
  free_.push_back(place);
  --used_slots_;
}

}  // namespace autodist
