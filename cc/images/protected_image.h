// An image by write protection: a chunk of pages is copied at the first write to it.
//
// Linux's userfaultfd(2) protects the whole pages of the ranges, most of them before the instant
// (early_protection.h). A thread that writes to one of
// them waits. A thread of ours, the *handler*, copies the chunk, takes its protection off, and lets
// the writer go on. A reader reads a chunk from its place while it is protected, and later its
// copy:
//
//   kProtected --write--> kBusy (is copied) --> kCopied    the protection comes off after the copy
//   kProtected --all of it was read--> kFree               the protection comes off without a copy
//
// A reader looks at the state after it has read from the chunk's place. If the state is not
// kCopied, nobody can have written to the chunk. Edges (chunks.h) are copied by Take().

#ifndef AUTODIST_IMAGES_PROTECTED_IMAGE_H_
#define AUTODIST_IMAGES_PROTECTED_IMAGE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "images/chunks.h"
#include "images/early_protection.h"
#include "images/memory_image.h"
#include "images/right_of_way.h"
#include "images/side_memory.h"
#include "images/system/mapped_memory.h"
#include "images/system/page_guard.h"
#include "images/system/page_moves.h"

namespace autodist {

struct ProtectionOptions {
  // The size of a chunk. 0: if the system has huge pages and the pool has room for all ranges, 2
  // MiB, which keeps huge pages whole; else 64 KiB, which needs less of the pool.
  int64_t grain_bytes = 0;
  int64_t pool_bytes = 256 << 20;  // the most memory for copies
  std::string spill_directory;     // for a file with more copies; empty: a full pool is an error
  int handler_count = 2;
  // Whether to protect pages also if the kernel's own writes to them then fail, as they do for an
  // ordinary user (page_guard.h).
  bool may_fail_kernel_writes = false;
};

class ProtectedImage : public MemoryImage {
 public:
  explicit ProtectedImage(ProtectionOptions options) : options_(std::move(options)) {}
  ~ProtectedImage() override;

  absl::Status Prepare(absl::Span<const MemoryRange> ranges) override;
  absl::Status Take(absl::Span<const MemoryRange> ranges) override;
  absl::Status Read(const char* at, int64_t size, char* to) override;
  void Release(const char* at, int64_t size) override;
  void LeaveFormer() override;
  absl::Status Finish() override;
  ImageReport report() const override { return report_; }

 private:
  enum State : int { kProtected, kBusy, kCopied, kFree, kLost };

  absl::Status ReadChunk(Chunk& chunk, int64_t from, int64_t size, char* to);
  absl::Status GuardAll(absl::Span<const MemoryRange> ranges);
  void CopyEdges();
  absl::Status StartHandlers();
  void Handle();
  absl::Status HandleFault(char* page);
  void Free(Chunk& chunk);
  void Fail(const absl::Status& status);
  void GiveUp(const absl::Status& status);
  absl::Status failure();
  void EndHandlers();
  bool LeavesAll();

  const ProtectionOptions options_;
  std::unique_ptr<Chunks> chunks_;
  std::unique_ptr<SideMemory> side_;
  MappedMemory edges_;
  PageGuard guard_;
  EarlyProtection early_{&guard_};
  RightOfWay way_;
  std::unique_ptr<MovesHeld> moves_held_;
  // What Finish() moves to huge pages.
  std::vector<MemoryRange> to_move_;
  Moves moves_ = Moves::kOnce;
  std::vector<MemoryRange> guarded_;  // the ranges that the guard watches
  std::vector<MemoryRange> former_;   // that it still watches, and that have moved
  std::vector<std::thread> handlers_;
  std::atomic<bool> is_leaving_{false};  // all protection is being taken off
  std::atomic<bool> is_ending_{false};
  std::atomic<int64_t> faults_{0};
  std::mutex failure_mutex_;
  absl::Status failure_;
  ImageReport report_;
};

}  // namespace autodist

#endif  // AUTODIST_IMAGES_PROTECTED_IMAGE_H_
