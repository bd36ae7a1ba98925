#include "images/chunks.h"

#include <cstdint>
#include <random>
#include <vector>

#include "core/testing/testing.h"

namespace autodist {
namespace {

// Addresses that nobody reads.
char* At(int64_t number) { return reinterpret_cast<char*>(number); }

TEST(EachByteLiesInOneChunk) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const int64_t grain = kMemoryPageBytes << (random() % 4);
    const int64_t small = int64_t{1} << (random() % 18);
    std::vector<MemoryRange> ranges;
    int64_t next = 1 << 20;
    for (size_t i = 0; i < 1 + random() % 5; ++i) {
      next += static_cast<int64_t>(random() % 9000);
      const int64_t size = static_cast<int64_t>(random() % (6 * grain));
      ranges.push_back({At(next), size});
      next += size;
    }
    Chunks chunks(ranges, grain, small);
    EXPECT_TRUE(chunks.Place(ranges));
    int64_t total = 0, in_chunks = 0;
    for (const MemoryRange& range : ranges) {
      total += range.size;
      for (int64_t at = 0; at < range.size;) {
        const Chunk* chunk = chunks.Find(range.begin + at);
        EXPECT_TRUE(chunk != nullptr);
        if (chunk == nullptr) return;
        EXPECT_TRUE(chunk->begin == range.begin + at);
        EXPECT_TRUE(chunk->size > 0);
        EXPECT_TRUE(chunks.Find(chunk->begin + chunk->size - 1) == chunk);
        const int64_t begin = reinterpret_cast<intptr_t>(chunk->begin);
        EXPECT_TRUE(chunk->is_edge ||
                    (begin % kMemoryPageBytes == 0 && chunk->size % kMemoryPageBytes == 0 &&
                     begin / grain == (begin + chunk->size - 1) / grain));
        at += chunk->size;
      }
    }
    int64_t edges = 0, interiors = 0;
    for (const Chunk& chunk : chunks.all()) {
      in_chunks += chunk.size;
      if (chunk.is_edge) edges += chunk.size;
    }
    for (const MemoryRange& pages : chunks.interiors()) interiors += pages.size;
    EXPECT_EQ(in_chunks, total);
    EXPECT_EQ(edges + interiors, total);
    EXPECT_TRUE(edges <= chunks.most_edge_bytes());
  }
}

TEST(AnAddressOutsideIsInNoChunk) {
  const std::vector<MemoryRange> ranges = {{At(1 << 20), 10000}, {At(1 << 22), 20000}};
  Chunks chunks(ranges, kMemoryPageBytes, 0);
  EXPECT_TRUE(chunks.Place(ranges));
  for (const int64_t at : {0, (1 << 20) - 1, (1 << 20) + 10000, (1 << 22) - 1, (1 << 22) + 20000}) {
    EXPECT_TRUE(chunks.Find(At(at)) == nullptr);
  }
}

TEST(ARangeOfAnotherSizeIsNotPlaced) {
  Chunks chunks(std::vector<MemoryRange>{{At(1 << 20), 10000}}, kMemoryPageBytes, 0);
  EXPECT_TRUE(!chunks.Place(std::vector<MemoryRange>{{At(1 << 20), 10001}}));
  EXPECT_TRUE(!chunks.Place({}));
  EXPECT_TRUE(chunks.Place(std::vector<MemoryRange>{{At((1 << 20) + 77), 10000}}));
}

TEST(AChunkIsDoneOnceAllOfItWasReleased) {
  const std::vector<MemoryRange> ranges = {{At(1 << 20), 4 * kMemoryPageBytes}};
  Chunks chunks(ranges, 2 * kMemoryPageBytes, 0);
  EXPECT_TRUE(chunks.Place(ranges));
  int done = 0;
  const auto count = [&](const Chunk&) { ++done; };
  chunks.Release(At(1 << 20), 5000, count);
  EXPECT_EQ(done, 0);
  chunks.Release(At((1 << 20) + 5000), 2 * kMemoryPageBytes - 5000, count);
  EXPECT_EQ(done, 1);
  chunks.Release(At((1 << 20) + 2 * kMemoryPageBytes), 2 * kMemoryPageBytes, count);
  EXPECT_EQ(done, 2);
}

}  // namespace
}  // namespace autodist
