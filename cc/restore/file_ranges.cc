// Ranges of data files, read or summed by several threads.

#include "restore/file_ranges.h"

#include "absl/crc/crc32c.h"
#include "format/values/copy_and_sum.h"
#include "threads/block.h"
#include "threads/parallel_blocks.h"

namespace autodist {

absl::StatusOr<std::vector<uint32_t>> ReadRanges(const DataFiles& files,
                                                 absl::Span<const FileRange> ranges, char* out,
                                                 int threads, const std::atomic<bool>* cancelled,
                                                 Progress* progress) {
  struct Block {
    size_t range;
    int64_t begin;  // in the range
    int64_t size;
    int64_t place;  // in `out`
    absl::crc32c_t crc{0};
  };
  std::vector<Block> blocks;
  int64_t total = 0;
  for (size_t i = 0; i < ranges.size(); ++i) {
    const int64_t size_bytes = ranges[i].size_bytes;
    for (int64_t block = 0; block < BlockCount(size_bytes); ++block) {
      const int64_t begin = block * kBlockBytes;
      blocks.push_back({i, begin, BlockSize(size_bytes, block), total + begin});
    }
    total += size_bytes;
  }
  const absl::Status status =
      ForEachBlock(static_cast<int64_t>(blocks.size()), ReadingThreads(threads, total), cancelled,
                   [&](int64_t number, char* buffer) {
                     Block& block = blocks[number];
                     const FileRange& range = ranges[block.range];
                     char* to = out == nullptr ? buffer : out + block.place;
                     const absl::Status read =
                         files.Read(range.shard_id, range.offset + block.begin, block.size, to);
                     if (read.ok()) block.crc = Sum(to, block.size);
                     if (progress != nullptr) progress->Add(block.size);
                     return read;
                   });
  if (!status.ok()) return status;
  std::vector<absl::crc32c_t> sums(ranges.size(), absl::crc32c_t{0});
  for (const Block& block : blocks) {
    sums[block.range] = absl::ConcatCrc32c(sums[block.range], block.crc, block.size);
  }
  std::vector<uint32_t> numbers;
  for (absl::crc32c_t sum : sums) numbers.push_back(static_cast<uint32_t>(sum));
  return numbers;
}

}  // namespace autodist
