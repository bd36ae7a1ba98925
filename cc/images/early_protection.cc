// Protects memory before the instant. The header tells why.

#include "images/early_protection.h"

#include <sched.h>
#include <time.h>

#include <algorithm>
#include <iterator>

#include "system_memory/pages.h"

namespace autodist {
namespace {

constexpr int64_t kPieceBytes = 64 << 10;
constexpr size_t kPiecesInHugePage = kHugePageBytes / kPieceBytes;
// To protect 2 MiB takes some microseconds if they are one huge page, and 100 or more if not.
constexpr int64_t kMostNanosecondsForHugePage = 50'000;
constexpr int kMostRounds = 6;
// To close so many pieces takes about a millisecond.
constexpr int64_t kFewPieces = 256;

// Of the processor, so that it makes no difference how busy the machine is.
int64_t ThreadNanoseconds() {
  timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

int64_t PieceNumber(const char* at) { return reinterpret_cast<intptr_t>(at) / kPieceBytes; }

}  // namespace

void EarlyProtection::Prepare(absl::Span<const MemoryRange> ranges) {
  size_t count = 0;
  for (const MemoryRange& range : ranges) {
    if (range.size == 0) continue;
    const int64_t last = PieceNumber(range.begin + range.size - 1);
    regions_.push_back({range, count, static_cast<size_t>(last - PieceNumber(range.begin) + 1)});
    count += regions_.back().piece_count;
  }
  pieces_.assign(count, kOpen);
  std::sort(regions_.begin(), regions_.end(),
            [](const Region& a, const Region& b) { return a.pages.begin < b.pages.begin; });
}

MemoryRange EarlyProtection::PartOf(const Region& region, size_t first, size_t last) {
  const int64_t base = PieceNumber(region.pages.begin) * kPieceBytes;
  const int64_t start = reinterpret_cast<intptr_t>(region.pages.begin) - base;
  const int64_t begin = std::max<int64_t>(static_cast<int64_t>(first) * kPieceBytes - start, 0);
  const int64_t end =
      std::min<int64_t>(static_cast<int64_t>(last) * kPieceBytes - start, region.pages.size);
  return {region.pages.begin + begin, end - begin};
}

absl::Status EarlyProtection::Begin() {
  absl::Status status;
  const auto for_each_group = [&](auto close) {
    for (const Region& region : regions_) {
      // Groups begin where huge pages do.
      size_t first = 0;
      size_t last = kPiecesInHugePage - PieceNumber(region.pages.begin) % kPiecesInHugePage;
      while (first < region.piece_count && status.ok()) {
        last = std::min(last, region.piece_count);
        GiveWay();
        status = close(region, first, last);
        first = last;
        last += kPiecesInHugePage;
      }
    }
  };
  for_each_group([&](const Region& region, size_t first, size_t last) {
    return CloseGroup(region, first, last);
  });
  int64_t before = pieces_.size();
  for (int round = 1; round < kMostRounds && status.ok(); ++round) {
    const int64_t open = OpenCount();
    // Without progress the writers are faster.
    if (open <= kFewPieces || open > before * 3 / 4) break;
    before = open;
    for_each_group([&](const Region& region, size_t first, size_t last) {
      return CloseOpen(region, first, last);
    });
  }
  return status;
}

// Closes a group for the first time, but leaves it open if it is a huge page.
absl::Status EarlyProtection::CloseGroup(const Region& region, size_t first, size_t last) {
  const MemoryRange pages = PartOf(region, first, last);
  const std::lock_guard<std::mutex> lock(mutex_);
  std::fill_n(pieces_.begin() + region.first_piece + first, last - first, kClosed);
  const int64_t begin = ThreadNanoseconds();
  absl::Status status = guard_.Protect(pages);
  const bool is_huge =
      pages.size == kHugePageBytes && ThreadNanoseconds() - begin < kMostNanosecondsForHugePage;
  if (!status.ok() || !is_huge) return status;
  status = guard_.Unprotect(pages);
  if (status.ok()) {
    std::fill_n(pieces_.begin() + region.first_piece + first, last - first, kHuge);
  }
  return status;
}

// Closes what writers have opened of a group.
absl::Status EarlyProtection::CloseOpen(const Region& region, size_t first, size_t last) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Piece* const pieces = pieces_.data() + region.first_piece;
  absl::Status status;
  for (size_t end = first; first < last && status.ok(); first = end) {
    const bool is_open = pieces[first] == kOpen;
    for (end = first; end < last && (pieces[end] == kOpen) == is_open; ++end) {
    }
    if (!is_open) continue;
    status = guard_.Protect(PartOf(region, first, end));
    if (status.ok()) std::fill(pieces + first, pieces + end, kClosed);
  }
  return status;
}

int64_t EarlyProtection::OpenCount() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::count(pieces_.begin(), pieces_.end(), kOpen);
}

void EarlyProtection::GiveWay() const {
  while (waiting_ > 0) sched_yield();
}

absl::StatusOr<bool> EarlyProtection::HandleWrite(char* page) {
  if (is_complete_) return false;
  ++waiting_;
  const std::lock_guard<std::mutex> lock(mutex_);
  --waiting_;
  if (is_complete_) return false;
  const auto region = FindRegion(page);
  MemoryRange pages = {page, kMemoryPageBytes};
  if (region != regions_.end()) {
    const auto number = static_cast<size_t>(PieceNumber(page) - PieceNumber(region->pages.begin));
    Piece& piece = pieces_[region->first_piece + number];
    if (piece != kClosed) {
      // Another thread waited for the same piece. That one has been opened. To take protection off
      // a part of a huge page would split it.
      guard_.Wake(page);
      return true;
    }
    piece = kOpen;
    pages = PartOf(*region, number, number + 1);
  }
  absl::Status status = guard_.Unprotect(pages);
  if (!status.ok()) return status;
  return true;
}

std::vector<EarlyProtection::Region>::const_iterator EarlyProtection::FindRegion(
    const char* at) const {
  const auto next = std::upper_bound(
      regions_.begin(), regions_.end(), at,
      [](const char* address, const Region& region) { return address < region.pages.begin; });
  const bool is_in =
      next != regions_.begin() && at < std::prev(next)->pages.begin + std::prev(next)->pages.size;
  return is_in ? std::prev(next) : regions_.end();
}

absl::Status EarlyProtection::Complete(absl::Span<const MemoryRange> ranges) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const MemoryRange& range : ranges) {
    const auto region = FindRegion(range.begin);
    const bool has_moved = region == regions_.end() || region->pages.begin != range.begin ||
                           region->pages.size != range.size;
    if (has_moved) {
      absl::Status status = guard_.Protect(range);
      if (!status.ok()) return status;
      continue;
    }
    const Piece* const pieces = pieces_.data() + region->first_piece;
    for (size_t first = 0, end = 0; first < region->piece_count; first = end) {
      const bool is_closed = pieces[first] == kClosed;
      for (end = first; end < region->piece_count && (pieces[end] == kClosed) == is_closed; ++end) {
      }
      if (is_closed) continue;
      absl::Status status = guard_.Protect(PartOf(*region, first, end));
      if (!status.ok()) return status;
    }
  }
  is_complete_ = true;
  return absl::OkStatus();
}

}  // namespace autodist
