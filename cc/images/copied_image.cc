// An image that is a copy of all ranges, made while writers wait. The header tells how.

#include "images/copied_image.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "system_memory/available_memory.h"

namespace autodist {
namespace {

// Of what is given back at a time.
constexpr int64_t kCopyGrainBytes = 2 << 20;

}  // namespace

absl::Status CopiedImage::Prepare(absl::Span<const MemoryRange> ranges) {
  int64_t total = 0;
  for (const MemoryRange& range : ranges) total += range.size;
  if (total > memory_bytes_) {
    return absl::ResourceExhaustedError(absl::StrCat("the copy takes ", total,
                                                     " bytes, more than the ", memory_bytes_,
                                                     " of snapshot_memory_bytes"));
  }
  if (const int64_t available = AvailableMemory(); total > available) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the copy takes ", total, " bytes, but only ", available, " bytes are free"));
  }
  chunks_ = std::make_unique<Chunks>(ranges, kCopyGrainBytes, kCopyGrainBytes);
  return copy_.Map(total);
}

absl::Status CopiedImage::Take(absl::Span<const MemoryRange> ranges) {
  if (!chunks_->Place(ranges)) return MovedError();
  int64_t used = 0;
  for (Chunk& chunk : chunks_->all()) {
    if (chunk.size == 0) continue;
    chunk.copy = copy_.begin() + used;
    std::memcpy(chunk.copy, chunk.begin, static_cast<size_t>(chunk.size));
    used += chunk.size;
  }
  report_.copied_bytes = used;
  report_.most_side_bytes = used;
  return absl::OkStatus();
}

absl::Status CopiedImage::Read(const char* at, int64_t size, char* to) {
  return chunks_->ReadParts(at, size, to,
                            [](const Chunk& chunk, int64_t from, int64_t part, char* out) {
                              std::memcpy(out, chunk.copy + from, static_cast<size_t>(part));
                              return absl::OkStatus();
                            });
}

void CopiedImage::Release(const char* at, int64_t size) {
  chunks_->Release(at, size, [](Chunk& chunk) { MappedMemory::GiveBack(chunk.copy, chunk.size); });
}

}  // namespace autodist
