// Copies what tensors consist of from file to file, and sums it on the way.

#include "tables/writing/copying.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>

#include "core/boxes/runs.h"
#include "core/boxes/tiling.h"
#include "tables/bytes/crc32c.h"
#include "tables/writing/parallel_blocks.h"

namespace autodist {
namespace {

// Runs of a stored box that lie so close are read together with what is between them.
constexpr int64_t kSmallGapBytes = 64 * 1024;

std::string_view View(const char* bytes, int64_t size) {
  return std::string_view(bytes, static_cast<size_t>(size));
}

// A range of a stored box's bytes that is in memory.
class Window {
 public:
  Window(const StoredBox& stored, char* memory, int64_t capacity)
      : stored_(stored), memory_(memory), capacity_(capacity) {}

  // Copies the bytes [begin, end) of the box. Bytes up to `useful_end` will be asked for next.
  Outcome Copy(int64_t begin, int64_t end, int64_t useful_end, char* to) {
    while (begin < end) {
      if (begin < begin_ || begin >= end_) {
        begin_ = begin;
        end_ = begin + std::min(capacity_, useful_end - begin);
        const Outcome outcome = stored_.file.Read(stored_.offset + begin_, end_ - begin_, memory_);
        if (!outcome.is_good()) return outcome;
      }
      const int64_t count = std::min(end, end_) - begin;
      std::memcpy(to, memory_ + (begin - begin_), static_cast<size_t>(count));
      to += count;
      begin += count;
    }
    return Outcome::Good();
  }

 private:
  const StoredBox& stored_;
  char* const memory_;
  const int64_t capacity_;
  int64_t begin_ = 0;
  int64_t end_ = 0;
};

// A stored box that shares elements with the wanted one.
struct Overlap {
  const StoredBox* stored;
  RunPlan plan;  // the wanted box is its output
};

Outcome PlanOverlaps(const std::vector<StoredBox>& stored, const Box& wanted,
                     std::vector<Overlap>* overlaps) {
  std::vector<Box> shared;  // in the wanted box
  for (const StoredBox& source : stored) {
    std::optional<Box> common = Intersect(wanted, source.box);
    if (!common.has_value()) continue;
    for (int axis = 0; axis < common->rank(); ++axis) common->start[axis] -= wanted.start[axis];
    shared.push_back(*common);
    overlaps->push_back({&source, RunPlan::OfShared(wanted, source.box)});
  }
  const std::optional<std::string> problem = CheckTiling(wanted.extent, shared);
  if (!problem.has_value()) return Outcome::Good();
  return Outcome::Unsupported("its slices do not make up the tensor: " + *problem);
}

// Puts into `block` the part of the output [begin, end), in elements, that comes from one box.
Outcome GatherFrom(const Overlap& overlap, int64_t element_bytes, int64_t begin, int64_t end,
                   char* block, char* memory, int64_t capacity) {
  Window window(*overlap.stored, memory, capacity);
  std::vector<Run> close;
  Outcome outcome = Outcome::Good();
  const auto copy_close = [&] {
    if (!outcome.is_good() || close.empty()) return;
    const int64_t useful_end = (close.back().source + close.back().count) * element_bytes;
    for (const Run& run : close) {
      outcome = window.Copy(run.source * element_bytes, (run.source + run.count) * element_bytes,
                            useful_end, block + (run.output - begin) * element_bytes);
      if (!outcome.is_good()) return;
    }
    close.clear();
  };
  overlap.plan.Visit(begin, end, [&](const Run& run) {
    if (!close.empty()) {
      const int64_t gap = run.source - close.back().source - close.back().count;
      if (gap * element_bytes > kSmallGapBytes || close.size() >= 4096) copy_close();
    }
    if (outcome.is_good()) close.push_back(run);
  });
  copy_close();
  return outcome;
}

}  // namespace

Outcome CopyParts(const OpenFile& source, const OpenFile& target,
                  const std::vector<CopyPart>& parts, const CopyLimits& limits,
                  std::vector<uint32_t>* crcs) {
  // The blocks of all parts. Small parts are blocks of their own, taken many at a time.
  struct Block {
    size_t part;
    int64_t begin;
    int64_t size;
    uint32_t crc;
  };
  std::vector<Block> blocks;
  for (size_t part = 0; part < parts.size(); ++part) {
    for (int64_t begin = 0; begin < parts[part].size_bytes; begin += limits.block_bytes) {
      blocks.push_back(
          {part, begin, std::min(limits.block_bytes, parts[part].size_bytes - begin), 0});
    }
  }
  constexpr int64_t kBlocksAtOnce = 64;
  const int64_t groups = (static_cast<int64_t>(blocks.size()) + kBlocksAtOnce - 1) / kBlocksAtOnce;
  const bool has_large = std::any_of(blocks.begin(), blocks.end(), [&](const Block& block) {
    return block.size >= limits.block_bytes / 2;
  });
  const int64_t at_once = has_large ? 1 : kBlocksAtOnce;
  const int64_t count = has_large ? static_cast<int64_t>(blocks.size()) : groups;
  const Outcome outcome =
      ForEachBlock(count, limits.threads, limits.block_bytes, [&](int64_t group, char* buffer) {
        const size_t end = std::min(blocks.size(), static_cast<size_t>((group + 1) * at_once));
        for (size_t i = static_cast<size_t>(group * at_once); i < end; ++i) {
          Block& block = blocks[i];
          const CopyPart& part = parts[block.part];
          Outcome done = source.Read(part.source_offset + block.begin, block.size, buffer);
          if (!done.is_good()) return done;
          block.crc = CrcOf(View(buffer, block.size));
          if (target.descriptor < 0) continue;
          done = target.Write(part.target_offset + block.begin, block.size, buffer);
          if (!done.is_good()) return done;
        }
        return Outcome::Good();
      });
  if (!outcome.is_good()) return outcome;
  crcs->assign(parts.size(), 0);
  for (const Block& block : blocks) {
    uint32_t& crc = (*crcs)[block.part];
    crc = ConcatCrc(crc, block.crc, static_cast<uint64_t>(block.size));
  }
  return Outcome::Good();
}

Outcome GatherBox(const std::vector<StoredBox>& stored, const StoredBox& target,
                  int64_t element_bytes, const CopyLimits& limits, uint32_t* crc) {
  *crc = 0;
  std::vector<Overlap> overlaps;
  const Outcome planned = PlanOverlaps(stored, target.box, &overlaps);
  if (!planned.is_good()) return planned;
  const int64_t elements = target.box.elements();
  const int64_t block_elements = std::max<int64_t>(1, limits.block_bytes / element_bytes);
  const int64_t block_bytes = block_elements * element_bytes;
  const int64_t count = (elements + block_elements - 1) / block_elements;
  std::vector<uint32_t> crcs(static_cast<size_t>(count));
  const Outcome outcome =
      ForEachBlock(count, limits.threads, 2 * block_bytes, [&](int64_t number, char* buffer) {
        const int64_t begin = number * block_elements;
        const int64_t end = std::min(elements, begin + block_elements);
        for (const Overlap& overlap : overlaps) {
          const Outcome done = GatherFrom(overlap, element_bytes, begin, end, buffer,
                                          buffer + block_bytes, block_bytes);
          if (!done.is_good()) return done;
        }
        const int64_t size = (end - begin) * element_bytes;
        crcs[static_cast<size_t>(number)] = CrcOf(View(buffer, size));
        return target.file.Write(target.offset + begin * element_bytes, size, buffer);
      });
  if (!outcome.is_good()) return outcome;
  for (int64_t number = 0; number < count; ++number) {
    const int64_t size =
        (std::min(elements, (number + 1) * block_elements) - number * block_elements) *
        element_bytes;
    *crc = ConcatCrc(*crc, crcs[static_cast<size_t>(number)], static_cast<uint64_t>(size));
  }
  return Outcome::Good();
}

Outcome ReadBox(const std::vector<StoredBox>& stored, const Box& wanted, int64_t element_bytes,
                int64_t begin, int64_t end, char* bytes) {
  std::vector<Overlap> overlaps;
  const Outcome planned = PlanOverlaps(stored, wanted, &overlaps);
  if (!planned.is_good()) return planned;
  std::string memory(static_cast<size_t>((end - begin) * element_bytes), '\0');
  for (const Overlap& overlap : overlaps) {
    const Outcome done = GatherFrom(overlap, element_bytes, begin, end, bytes, memory.data(),
                                    static_cast<int64_t>(memory.size()));
    if (!done.is_good()) return done;
  }
  return Outcome::Good();
}

}  // namespace autodist
