// See the header for the idea.

#include "images/copied_image.h"

#include <cstring>

namespace autodist {
namespace {

// Of what is given back at a time.
constexpr int64_t kCopyGrainBytes = 2 << 20;

}  // namespace

absl::Status CopiedImage::Prepare(absl::Span<const MemoryRange> ranges) {
  chunks_ = std::make_unique<Chunks>(ranges, kCopyGrainBytes, kCopyGrainBytes);
  int64_t total = 0;
  for (const MemoryRange& range : ranges) total += range.size;
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
