// One group of a restore while it is read: its blocks, where they go, and what they sum up to.

#ifndef AUTODIST_RESTORE_GROUP_LOADER_H_
#define AUTODIST_RESTORE_GROUP_LOADER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/crc/crc32c.h"
#include "absl/status/status.h"
#include "accelerators/accelerator.h"
#include "accelerators/device_writer.h"
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
  // The memory of a target.
  struct TargetMemory {
    tensorflow::Tensor tensor;                           // without memory: the target is left out
    std::shared_ptr<Accelerator> accelerator = nullptr;  // null: on the host
  };

  // One element per target of the group. The plan and the files outlive the loader. REQUIRES:
  // elements are of a fixed size.
  GroupLoader(const BundleIndex& index, const DataFiles& files, const Group& group,
              absl::Span<const TargetMemory> targets);

  // The same for some ranges of pieces only.
  GroupLoader(const BundleIndex& index, const DataFiles& files, const Group& group,
              absl::Span<const TargetMemory> targets, absl::Span<const PieceRange> ranges);

  int64_t block_count() const { return static_cast<int64_t>(blocks_.size()); }
  int64_t size_of(int64_t block) const { return blocks_[block].size; }

  // Reads a block from its file; `buffer` has room for one.
  absl::Status Load(int64_t block, char* buffer);

  // Gets the bytes of a block: writes size_of(block) bytes to `out`.
  using ReadBlock = std::function<absl::Status(char* out)>;
  // The same as Load(), by a function.
  absl::Status LoadBy(int64_t block, char* buffer, const ReadBlock& read);

  // Takes all blocks from memory that holds the bytes of the group's file from `offset` on.
  absl::Status LoadFrom(const char* bytes, int64_t offset);

  // Takes a block from memory that holds the bytes of its range.
  absl::Status LoadFromRange(int64_t block, const char* bytes);

  // Waits until all that was loaded is in the memory of the targets. Once, after all blocks.
  absl::Status Finish();

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

  // What takes the bytes of a target; neither: it is left out.
  struct Taker {
    char* host = nullptr;
    std::unique_ptr<DeviceWriter> device;
  };

  // The memory of the target on the host that takes the block as one run, if there is one.
  char* DirectMemory(const Block& block) const;
  absl::Status Scatter(const Block& block, const char* bytes) const;
  // The elements of the entry that a block is of, for messages.
  absl::Status Located(const Block& block, const absl::Status& status) const;

  const BundleIndex& index_;
  const DataFiles& files_;
  const Group& group_;
  const int64_t element_bytes_;
  std::vector<Taker> takers_;  // by target
  std::vector<PieceRange> ranges_;
  std::vector<Block> blocks_;
};

}  // namespace autodist

#endif  // AUTODIST_RESTORE_GROUP_LOADER_H_
