// Divides ranges of memory into chunks. An image copies, protects or releases whole chunks.
//
//   range   |edge|----- grain -----|----- grain -----|-- rest --|edge|
//                ^ first whole page                  last whole page ^
//
// Chunks end at addresses that are multiples of the grain. An edge is the first or last part of a
// range, on a page that the range shares with other memory. A small range is one edge.

#ifndef AUTODIST_IMAGES_CHUNKS_H_
#define AUTODIST_IMAGES_CHUNKS_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "images/memory_image.h"
#include "system_memory/pages.h"

namespace autodist {

struct Chunk {
  char* begin = nullptr;
  int64_t size = 0;
  bool is_edge = false;
  std::atomic<int64_t> unread_bytes{0};
  // The image gives the following their meaning.
  std::atomic<int> state{0};
  char* copy = nullptr;
  int64_t place = -1;
};

// The error of an image that is taken of ranges of other sizes than it was prepared for.
absl::Status MovedError();

class Chunks {
 public:
  // Makes room for all chunks of `ranges`. `grain` is the size of a chunk in bytes: a power of 2,
  // and a multiple of a page. A range of less than `small_bytes` is one edge.
  Chunks(absl::Span<const MemoryRange> ranges, int64_t grain, int64_t small_bytes);

  // Sets the addresses of the chunks. Returns false if a range has another size than in the
  // constructor. Does not allocate.
  bool Place(absl::Span<const MemoryRange> ranges);

  // The whole pages of each range that has some.
  absl::Span<const MemoryRange> interiors() const { return interiors_; }

  // The most bytes that all edges can have.
  int64_t most_edge_bytes() const { return most_edge_bytes_; }

  std::vector<Chunk>& all() { return chunks_; }

  // Returns the chunk of an address, or null if the address is in no range.
  Chunk* Find(const char* at);

  // Divides [at, at + size) into parts that lie in one chunk each. Calls read(chunk, offset in the
  // chunk, size, to) for each part. Returns the first error; Internal if a part lies in no chunk.
  template <typename Reader>
  absl::Status ReadParts(const char* at, int64_t size, char* to, Reader&& read) {
    while (size > 0) {
      Chunk* const chunk = Find(at);
      if (chunk == nullptr) return absl::InternalError("a read of memory that is not in the image");
      const int64_t from = at - chunk->begin;
      const int64_t part = std::min(size, chunk->size - from);
      absl::Status status = read(*chunk, from, part, to);
      if (!status.ok()) return status;
      at += part;
      to += part;
      size -= part;
    }
    return absl::OkStatus();
  }

  // Notes that [at, at + size) was read. Calls done(chunk) for each chunk that is now read
  // entirely.
  template <typename Done>
  void Release(const char* at, int64_t size, Done&& done) {
    while (size > 0) {
      Chunk* const chunk = Find(at);
      if (chunk == nullptr) return;
      const int64_t part = std::min(size, chunk->size - (at - chunk->begin));
      if (chunk->unread_bytes.fetch_sub(part) == part) done(*chunk);
      at += part;
      size -= part;
    }
  }

 private:
  // A range whose address Place() has set.
  struct Region {
    char* begin;
    int64_t size;
    int64_t head_bytes;  // of the edge before the whole pages
    int64_t tail_bytes;
    size_t first_chunk;
  };

  void SetChunk(size_t index, char* begin, int64_t size, bool is_edge);

  const int64_t grain_;
  const int64_t small_bytes_;
  int64_t most_edge_bytes_ = 0;
  std::vector<int64_t> sizes_;        // of the ranges
  std::vector<size_t> first_chunks_;  // by range, and past the last
  std::vector<Region> regions_;       // by address
  std::vector<MemoryRange> interiors_;
  std::vector<Chunk> chunks_;
};

}  // namespace autodist

#endif  // AUTODIST_IMAGES_CHUNKS_H_
