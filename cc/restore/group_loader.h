// One group of a restore while it is read: its blocks, where they go, and what they sum up to.

#ifndef AUTODIST_RESTORE_GROUP_LOADER_H_
#define AUTODIST_RESTORE_GROUP_LOADER_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/crc/crc32c.h"
#include "absl/status/status.h"
#include "format/reader/data_files.h"
#include "restore/restore_plan.h"
#include "tensorflow/core/framework/tensor.h"

namespace autodist {

// Some bytes of a piece; whole elements.
struct PieceRange {
  int piece;
  int64_t begin;
  int64_t end;
};

// Thread-safe once made, for different blocks.
class GroupLoader {
 public:
  // One tensor per target of the group; those without memory are left out. The tensors,
  // the plan and the files outlive the loader. REQUIRES: elements are of a fixed size.
  GroupLoader(const BundleIndex& index, const DataFiles& files, const Group& group,
              absl::Span<const tensorflow::Tensor> targets);

  // The same for some ranges of pieces only.
  GroupLoader(const BundleIndex& index, const DataFiles& files, const Group& group,
              absl::Span<const tensorflow::Tensor> targets, absl::Span<const PieceRange> ranges);

  int64_t block_count() const { return static_cast<int64_t>(blocks_.size()); }
  int64_t size_of(int64_t block) const { return blocks_[block].size; }

  // Reads a block from its file; `buffer` has room for one.
  absl::Status Load(int64_t block, char* buffer);

  // Gets the bytes of a block: writes size_of(block) bytes to `out`.
  using ReadBlock = std::function<absl::Status(char* out)>;
  // The same as Load(), by a function.
  absl::Status LoadBy(int64_t block, char* buffer, const ReadBlock& read);

  // Takes all blocks from memory that holds the bytes of the group's file from `offset` on.
  void LoadFrom(const char* bytes, int64_t offset);

  // Takes a block from memory that holds the bytes of its range.
  void LoadFromRange(int64_t block, const char* bytes);
  // The number of the block's range.
  int range_of(int64_t block) const { return blocks_[block].range; }
  // The sum of a block that has been loaded.
  absl::crc32c_t crc_of(int64_t block) const { return blocks_[block].crc; }

  // The sum of each range. REQUIRES: every block has been loaded.
  std::vector<uint32_t> RangeSums() const;

  // Compares the sums with the stored ones. REQUIRES: every block has been loaded, of whole pieces.
  absl::Status CheckSums() const;

 private:
  struct Block {
    int range;
    int piece;
    int64_t begin;  // in the piece's bytes
    int64_t size;
    absl::crc32c_t crc{0};
  };

  // Calls visit(target's memory, run) for what of a block goes to targets.
  template <typename Visitor>
  void VisitRuns(const Block& block, Visitor&& visit) const;
  // The memory of the target that takes the block as one run, if there is one.
  char* DirectMemory(const Block& block) const;
  void Scatter(const Block& block, const char* bytes) const;

  const BundleIndex& index_;
  const DataFiles& files_;
  const Group& group_;
  const int64_t element_bytes_;
  std::vector<char*> memory_;  // of each target; null for those left out
  std::vector<PieceRange> ranges_;
  std::vector<Block> blocks_;
};

}  // namespace autodist

#endif  // AUTODIST_RESTORE_GROUP_LOADER_H_
