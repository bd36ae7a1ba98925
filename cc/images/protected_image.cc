// An image by write protection: a chunk of pages is copied at the first write to it. The header
// tells how.

#include "images/protected_image.h"

#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <cstring>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "images/system/page_moves.h"
#include "images/system/private_memory.h"
#include "system_memory/pages.h"

namespace autodist {
namespace {

// A smaller range is copied while writers wait, which is faster than to protect it.
constexpr int64_t kSmallBytes = 256 << 10;

constexpr int kPollMilliseconds = 20;

constexpr int64_t kSmallGrainBytes = 64 << 10;

// The most bytes that copies of all chunks of `grain` bytes take. A chunk at each end of a range
// may be shorter, but takes a whole slot of the pool.
int64_t MostCopiedBytes(absl::Span<const MemoryRange> ranges, int64_t grain) {
  int64_t total = 0;
  for (const MemoryRange& range : ranges) total += range.size + 2 * grain;
  return total;
}

int64_t GrainOf(const ProtectionOptions& options, absl::Span<const MemoryRange> ranges) {
  if (options.grain_bytes > 0) return options.grain_bytes;
  const bool has_room = MostCopiedBytes(ranges, kHugePageBytes) <= options.pool_bytes;
  return HasHugePages() && has_room ? kHugePageBytes : kSmallGrainBytes;
}

// Blocks all signals of this thread. A signal handler that wrote to a protected page would wait for
// the thread that handles it, which may be this one, or wait for a mutex that this one holds.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~AllSignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

ProtectedImage::~ProtectedImage() { (void)Finish(); }

absl::Status ProtectedImage::Prepare(absl::Span<const MemoryRange> ranges) {
  moves_held_ = std::make_unique<MovesHeld>();
  const int64_t grain = GrainOf(options_, ranges);
  chunks_ = std::make_unique<Chunks>(ranges, grain, kSmallBytes);
  const int64_t pool_bytes = std::min(options_.pool_bytes, MostCopiedBytes(ranges, grain));
  side_ = std::make_unique<SideMemory>(grain, pool_bytes, options_.spill_directory);
  guarded_.reserve(ranges.size());
  absl::Status status = CheckPrivate(ranges);
  if (!status.ok()) return status;
  status = guard_.Open(options_.may_fail_kernel_writes ? PageGuard::Against::kWritesOfPrograms
                                                       : PageGuard::Against::kAllWrites);
  if (status.ok()) status = edges_.Map(chunks_->most_edge_bytes());
  if (status.ok()) status = side_->Prepare();
  if (status.ok() && !chunks_->Place(ranges)) status = MovedError();
  if (!status.ok()) return status;
  for (const MemoryRange& pages : chunks_->interiors()) {
    status = guard_.Watch(pages);
    if (!status.ok()) return status;
    guarded_.push_back(pages);
  }
  early_.Prepare(guarded_);
  to_move_ = guarded_;
  // With chunks of huge pages this image splits none. But a fork or another save may have split
  // some.
  moves_ = grain < kHugePageBytes ? Moves::kOnce : Moves::kAgain;
  former_.reserve(guarded_.size());
  status = StartHandlers();
  if (!status.ok()) return status;
  const AllSignalsBlocked blocked;
  return early_.Begin();
}

absl::Status ProtectedImage::StartHandlers() {
  // The threads inherit this.
  const AllSignalsBlocked blocked;
  absl::Status status;
  try {
    for (int i = 0; i < options_.handler_count; ++i) handlers_.emplace_back([this] { Handle(); });
  } catch (const std::system_error& error) {
    status =
        absl::ResourceExhaustedError(absl::StrCat("no thread for protected pages: ", error.what()));
  }
  return status;
}

absl::Status ProtectedImage::Take(absl::Span<const MemoryRange> ranges) {
  const AllSignalsBlocked blocked;
  absl::Status status = MovedError();
  if (chunks_->Place(ranges)) {
    CopyEdges();
    status = GuardAll(chunks_->interiors());
  }
  if (!status.ok() && !LeavesAll()) guard_.Abandon();
  return status;
}

// Protects all `ranges`. If one has moved since Prepare(), the guard begins to watch it here.
absl::Status ProtectedImage::GuardAll(absl::Span<const MemoryRange> ranges) {
  for (size_t i = 0; i < ranges.size(); ++i) {
    const MemoryRange& pages = ranges[i];
    if (i >= guarded_.size() || guarded_[i].begin != pages.begin ||
        guarded_[i].size != pages.size) {
      absl::Status status = guard_.Watch(pages);
      if (!status.ok()) return status;
      if (i < guarded_.size()) {
        former_.push_back(std::exchange(guarded_[i], pages));
      } else {
        guarded_.push_back(pages);
      }
    }
  }
  return early_.Complete(ranges);
}

void ProtectedImage::LeaveFormer() {
  // Early protection is still on most of them.
  for (const MemoryRange& pages : std::exchange(former_, {})) {
    const absl::Status status = guard_.Leave(pages);
    if (!status.ok()) GiveUp(status);
  }
}

void ProtectedImage::CopyEdges() {
  int64_t used = 0;
  for (Chunk& chunk : chunks_->all()) {
    if (!chunk.is_edge || chunk.size == 0) continue;
    chunk.copy = edges_.begin() + used;
    std::memcpy(chunk.copy, chunk.begin, static_cast<size_t>(chunk.size));
    used += chunk.size;
  }
  report_.copied_bytes = used;
}

absl::Status ProtectedImage::Read(const char* at, int64_t size, char* to) {
  // Once the pool is full, writers wait for the disk, and reads free the pool.
  if (side_->has_room()) way_.Give();
  return chunks_->ReadParts(at, size, to,
                            [this](Chunk& chunk, int64_t from, int64_t part, char* out) {
                              return ReadChunk(chunk, from, part, out);
                            });
}

absl::Status ProtectedImage::ReadChunk(Chunk& chunk, int64_t from, int64_t size, char* to) {
  if (chunk.is_edge) {
    std::memcpy(to, chunk.copy + from, static_cast<size_t>(size));
    return absl::OkStatus();
  }
  if (chunk.state.load(std::memory_order_acquire) != kCopied) {
    std::memcpy(to, chunk.begin + from, static_cast<size_t>(size));
    std::atomic_thread_fence(std::memory_order_acquire);
  }
  const int state = chunk.state.load(std::memory_order_acquire);
  if (state == kProtected || state == kBusy) return absl::OkStatus();
  if (state == kCopied) return side_->Get(chunk.place, from, size, to);
  absl::Status status = failure();
  return status.ok() ? absl::InternalError("a page of an image was read twice") : status;
}

void ProtectedImage::Release(const char* at, int64_t size) {
  chunks_->Release(at, size, [this](Chunk& chunk) {
    if (!chunk.is_edge) Free(chunk);
  });
}

// REQUIRES: nobody reads the chunk again.
void ProtectedImage::Free(Chunk& chunk) {
  int state = kProtected;
  while (!chunk.state.compare_exchange_weak(state, kFree)) {
    if (state == kCopied) {
      side_->Free(chunk.place);
      chunk.state = kFree;
      return;
    }
    if (state != kProtected && state != kBusy) return;
    if (state == kBusy) sched_yield();
    state = kProtected;
  }
  const absl::Status status = guard_.Unprotect({chunk.begin, chunk.size});
  if (!status.ok()) GiveUp(status);
}

void ProtectedImage::Handle() {
  while (!is_ending_) {
    const absl::StatusOr<char*> page = guard_.NextFault(kPollMilliseconds);
    absl::Status status = page.status();
    if (status.ok() && *page != nullptr) status = HandleFault(*page);
    // Once the guard has left a range, it cannot unprotect it: then an error means nothing.
    if (status.ok() || is_leaving_) continue;
    GiveUp(status);
    return;
  }
}

// Copies the chunk of a page that somebody writes to. After an error the page may still be
// protected.
absl::Status ProtectedImage::HandleFault(char* page) {
  const absl::StatusOr<bool> was_early = early_.HandleWrite(page);
  if (!was_early.ok() || *was_early) return was_early.status();
  Chunk* const chunk = chunks_->Find(page);
  // The page no longer belongs to a variable.
  if (chunk == nullptr) return guard_.Unprotect({page, kMemoryPageBytes});
  ++faults_;
  int state = kProtected;
  if (!chunk->state.compare_exchange_strong(state, kBusy)) {
    // If another thread handles the chunk, that thread wakes all that wait for it.
    if (state != kBusy) guard_.Wake(page);
    return absl::OkStatus();
  }
  const RightOfWay::Taken taken(&way_);
  absl::Status status = side_->Put(chunk->begin, chunk->size, &chunk->place);
  // Also if the image fails, the writer goes on.
  chunk->state.store(status.ok() ? kCopied : kLost, std::memory_order_release);
  if (!status.ok()) Fail(status);
  return guard_.Unprotect({chunk->begin, chunk->size});
}

// Ends all protection at once, so that training goes on. The image has failed.
void ProtectedImage::GiveUp(const absl::Status& status) {
  Fail(status);
  guard_.Abandon();
}

void ProtectedImage::Fail(const absl::Status& status) {
  std::lock_guard<std::mutex> lock(failure_mutex_);
  failure_.Update(status);
}

absl::Status ProtectedImage::failure() {
  std::lock_guard<std::mutex> lock(failure_mutex_);
  return failure_;
}

absl::Status ProtectedImage::Finish() {
  // First lets all writers go on, and then ends the handlers that they wait for.
  if (!LeavesAll()) {
    GiveUp(absl::DataLossError(
        "the pages of variables were not protected to the end: something else closed the "
        "descriptor of the save, or unmapped its memory"));
  }
  EndHandlers();
  moves_held_ = nullptr;
  if (side_ == nullptr) return failure();
  // Nobody waits for this move. It shortens Take() of the next image.
  MoveToHugePagesInBackground(std::exchange(to_move_, {}), moves_);
  report_.faults = faults_;
  report_.most_side_bytes = side_->most_bytes() + report_.copied_bytes;
  report_.spilled_bytes = side_->spilled_bytes();
  return failure();
}

// Stops watching all ranges. Returns whether each was watched until now.
bool ProtectedImage::LeavesAll() {
  is_leaving_ = true;
  bool all = true;
  for (const MemoryRange& pages : guarded_) {
    // The kernel would also leave a range that nobody watches, but not unprotect a page of it.
    if (!guard_.Unprotect({pages.begin, kMemoryPageBytes}).ok()) all = false;
    if (!guard_.Leave(pages).ok()) all = false;
  }
  guarded_.clear();
  for (const MemoryRange& pages : std::exchange(former_, {})) {
    if (!guard_.Leave(pages).ok()) all = false;
  }
  return all;
}

void ProtectedImage::EndHandlers() {
  is_ending_ = true;
  for (std::thread& handler : handlers_) handler.join();
  handlers_.clear();
}

}  // namespace autodist
