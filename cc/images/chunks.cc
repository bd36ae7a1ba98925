// Some ranges of memory in chunks, each of which an image treats as one. The header has the
// picture.

#include "images/chunks.h"

#include <algorithm>

namespace autodist {
namespace {

int64_t BytesToWholePage(const char* at) {
  return -reinterpret_cast<intptr_t>(at) & (kMemoryPageBytes - 1);
}

int64_t BytesAfterWholePage(const char* at) {
  return reinterpret_cast<intptr_t>(at) & (kMemoryPageBytes - 1);
}

}  // namespace

absl::Status MovedError() {
  return absl::AbortedError("a variable got another size while the save prepared");
}

Chunks::Chunks(absl::Span<const MemoryRange> ranges, int64_t grain, int64_t small_bytes)
    : grain_(grain), small_bytes_(std::max(small_bytes, 2 * kMemoryPageBytes)) {
  size_t count = 0;
  for (const MemoryRange& range : ranges) {
    sizes_.push_back(range.size);
    first_chunks_.push_back(count);
    const bool is_small = range.size < small_bytes_;
    // Two edges, and one more than fit, because the range may begin anywhere.
    count += is_small ? 1 : static_cast<size_t>(range.size / grain_ + 4);
    most_edge_bytes_ += is_small ? range.size : 2 * kMemoryPageBytes;
  }
  first_chunks_.push_back(count);
  chunks_ = std::vector<Chunk>(count);
  regions_.reserve(ranges.size());
  interiors_.reserve(ranges.size());
}

bool Chunks::Place(absl::Span<const MemoryRange> ranges) {
  if (ranges.size() != sizes_.size()) return false;
  regions_.clear();
  interiors_.clear();
  for (size_t i = 0; i < ranges.size(); ++i) {
    const MemoryRange& range = ranges[i];
    if (range.size != sizes_[i]) return false;
    if (range.size == 0) continue;
    Region region = {range.begin, range.size, range.size, 0, first_chunks_[i]};
    char* const end = range.begin + range.size;
    if (range.size >= small_bytes_) {
      region.head_bytes = BytesToWholePage(range.begin);
      region.tail_bytes = BytesAfterWholePage(end);
    }
    size_t next = region.first_chunk;
    SetChunk(next++, range.begin, region.head_bytes, true);
    char* at = range.begin + region.head_bytes;
    char* const last = end - region.tail_bytes;
    if (at < last) interiors_.push_back({at, last - at});
    while (at < last) {
      const int64_t to_next = grain_ - (reinterpret_cast<intptr_t>(at) & (grain_ - 1));
      const int64_t size = std::min<int64_t>(to_next, last - at);
      SetChunk(next++, at, size, false);
      at += size;
    }
    if (region.tail_bytes > 0) SetChunk(next++, last, region.tail_bytes, true);
    for (; next < first_chunks_[i + 1]; ++next) SetChunk(next, end, 0, true);
    regions_.push_back(region);
  }
  std::sort(regions_.begin(), regions_.end(),
            [](const Region& a, const Region& b) { return a.begin < b.begin; });
  return true;
}

void Chunks::SetChunk(size_t index, char* begin, int64_t size, bool is_edge) {
  Chunk& chunk = chunks_[index];
  chunk.begin = begin;
  chunk.size = size;
  chunk.is_edge = is_edge;
  chunk.unread_bytes.store(size, std::memory_order_relaxed);
  chunk.state.store(0, std::memory_order_relaxed);
  chunk.copy = nullptr;
  chunk.place = -1;
}

Chunk* Chunks::Find(const char* at) {
  auto next = std::upper_bound(
      regions_.begin(), regions_.end(), at,
      [](const char* address, const Region& region) { return address < region.begin; });
  if (next == regions_.begin()) return nullptr;
  const Region& region = *--next;
  const int64_t offset = at - region.begin;
  if (offset >= region.size) return nullptr;
  if (offset < region.head_bytes) return &chunks_[region.first_chunk];
  const intptr_t interior = reinterpret_cast<intptr_t>(region.begin + region.head_bytes);
  // The tail may begin at a multiple of the grain or not. So its chunk is counted from the last
  // byte before it.
  const bool is_tail = offset >= region.size - region.tail_bytes;
  const char* const within = is_tail ? region.begin + region.size - region.tail_bytes - 1 : at;
  const intptr_t grains = reinterpret_cast<intptr_t>(within) / grain_ - interior / grain_;
  return &chunks_[region.first_chunk + 1 + static_cast<size_t>(grains) + (is_tail ? 1 : 0)];
}

}  // namespace autodist
