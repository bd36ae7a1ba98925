// Protects memory before the instant, so that little is left to protect while writers wait.
//
// To protect 1 GiB on pages of 4 KiB takes 0.1 to 0.3 s. So Begin() does it while writers go on. A
// write takes the protection of one *piece* off again:
//
//   kOpen --Begin(), Complete()--> kClosed --write--> kOpen
//
// Complete() closes what is open at the instant. Begin() closes open pieces in several rounds. Each
// round takes less time than the one before, because a writer waits longer for each piece than it
// takes to close it. Memory on huge pages stays open: to protect it takes no time.

#ifndef AUTODIST_IMAGES_EARLY_PROTECTION_H_
#define AUTODIST_IMAGES_EARLY_PROTECTION_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "images/memory_image.h"
#include "images/system/page_guard.h"

namespace autodist {

// Thread-safe.
class EarlyProtection {
 public:
  explicit EarlyProtection(PageGuard* guard) : guard_(*guard) {}

  // Makes room for Begin() with `ranges` of whole pages, which do not overlap. Call it before any
  // other.
  void Prepare(absl::Span<const MemoryRange> ranges);

  // Protects the ranges, which the guard watches. Another thread calls HandleWrite() meanwhile.
  absl::Status Begin();

  // For a page that a thread waits to write to. Opens its piece, and returns true. Returns false
  // once Complete() has succeeded: then the page is still protected.
  absl::StatusOr<bool> HandleWrite(char* page);

  // Protects all of `ranges`, of which the guard watches each. REQUIRES: nobody writes to them.
  // Does not allocate.
  absl::Status Complete(absl::Span<const MemoryRange> ranges);

 private:
  enum Piece : char { kOpen, kClosed, kHuge };

  struct Region {
    MemoryRange pages;
    size_t first_piece;
    size_t piece_count;
  };

  // The part of a region in pieces [first, last), counted from the region's first.
  static MemoryRange PartOf(const Region& region, size_t first, size_t last);
  absl::Status CloseGroup(const Region& region, size_t first, size_t last);
  absl::Status CloseOpen(const Region& region, size_t first, size_t last);
  int64_t OpenCount();
  // The region that an address is in, or the end.
  std::vector<Region>::const_iterator FindRegion(const char* at) const;

  // Lets threads go first that wait for the mutex, since writers wait for them.
  void GiveWay() const;

  PageGuard& guard_;
  std::vector<Region> regions_;  // by address
  std::mutex mutex_;             // of the following; held while protection changes
  std::vector<Piece> pieces_;
  std::atomic<bool> is_complete_{false};
  std::atomic<int> waiting_{0};
};

}  // namespace autodist

#endif  // AUTODIST_IMAGES_EARLY_PROTECTION_H_
