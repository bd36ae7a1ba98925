// One group of a restore while it is read: its blocks, where they go, and what they sum up to.

#include "restore/group_loader.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "format/values/copy_and_sum.h"
#include "format/values/element_type.h"
#include "threads/block.h"

namespace autodist {

namespace {

std::vector<PieceRange> WholePieces(const BundleIndex& index, const Group& group) {
  std::vector<PieceRange> ranges;
  for (size_t i = 0; i < group.pieces.size(); ++i) {
    ranges.push_back({static_cast<int>(i), 0, index.entries[group.pieces[i].entry].size_bytes});
  }
  return ranges;
}

}  // namespace

GroupLoader::GroupLoader(const BundleIndex& index, const DataFiles& files, const Group& group,
                         absl::Span<const TargetMemory> targets)
    : GroupLoader(index, files, group, targets, WholePieces(index, group)) {}

GroupLoader::GroupLoader(const BundleIndex& index, const DataFiles& files, const Group& group,
                         absl::Span<const TargetMemory> targets,
                         absl::Span<const PieceRange> ranges)
    : index_(index),
      files_(files),
      group_(group),
      element_bytes_(SavedElementBytes(group.dtype)),
      ranges_(ranges.begin(), ranges.end()) {
  for (const TargetMemory& target : targets) {
    Taker& taker = takers_.emplace_back();
    if (target.tensor.data() == nullptr) continue;
    if (target.accelerator == nullptr) {
      taker.host = static_cast<char*>(target.tensor.data());
    } else {
      taker.device = std::make_unique<DeviceWriter>(target.accelerator, target.tensor);
    }
  }
  for (size_t i = 0; i < ranges_.size(); ++i) {
    const auto& [piece, begin, end] = ranges_[i];
    for (int64_t block = 0; block < BlockCount(end - begin); ++block) {
      blocks_.push_back(
          {static_cast<int>(i), piece, begin + block * kBlockBytes, BlockSize(end - begin, block)});
    }
  }
}

namespace {

// The first delivery of a piece that may take an element from `begin` on: those before it end
// there.
size_t FirstPast(const Piece& piece, int64_t begin) {
  const auto first = std::upper_bound(
      piece.deliveries.begin(), piece.deliveries.end(), begin,
      [](int64_t element, const Delivery& delivery) { return element < delivery.end; });
  return first - piece.deliveries.begin();
}

}  // namespace

char* GroupLoader::DirectMemory(const Block& block) const {
  const Piece& piece = group_.pieces[block.piece];
  const int64_t begin = block.begin / element_bytes_;
  const int64_t end = (block.begin + block.size) / element_bytes_;
  size_t i = FirstPast(piece, begin);
  for (; i < piece.deliveries.size() && piece.deliveries[i].runs.first_output() <= begin; ++i) {
    char* memory = takers_[piece.deliveries[i].target].host;
    if (memory == nullptr) continue;
    const Run run = piece.deliveries[i].runs.FirstIn(begin, end);
    if (run.output == begin && run.count == end - begin) {
      return memory + run.source * element_bytes_;
    }
  }
  return nullptr;
}

absl::Status GroupLoader::Scatter(const Block& block, const char* bytes) const {
  const Piece& piece = group_.pieces[block.piece];
  const int64_t begin = block.begin / element_bytes_;
  const int64_t end = (block.begin + block.size) / element_bytes_;
  size_t i = FirstPast(piece, begin);
  for (; i < piece.deliveries.size() && piece.deliveries[i].runs.first_output() < end; ++i) {
    const Taker& taker = takers_[piece.deliveries[i].target];
    const auto from_of = [&](const Run& run) {
      return bytes + (run.output * element_bytes_ - block.begin);
    };
    if (taker.host != nullptr) {
      piece.deliveries[i].runs.Visit(begin, end, [&](const Run& run) {
        char* const to = taker.host + run.source * element_bytes_;
        if (to != from_of(run)) std::memcpy(to, from_of(run), run.count * element_bytes_);
      });
    } else if (taker.device != nullptr) {
      DeviceWriter::Batch batch(taker.device.get());
      absl::Status status;
      piece.deliveries[i].runs.Visit(begin, end, [&](const Run& run) {
        if (!status.ok()) return;
        status = batch.Add(run.source * element_bytes_, from_of(run), run.count * element_bytes_);
      });
      if (status.ok()) status = batch.Send();
      if (!status.ok()) return Located(block, status);
    }
  }
  return absl::OkStatus();
}

absl::Status GroupLoader::Located(const Block& block, const absl::Status& status) const {
  const BundleEntry& entry = index_.entries[group_.pieces[block.piece].entry];
  return absl::Status(status.code(), absl::StrCat(entry.ToString(), ": ", status.message()));
}

absl::Status GroupLoader::Finish() {
  for (const Taker& taker : takers_) {
    if (taker.device == nullptr) continue;
    const absl::Status status = taker.device->Finish();
    if (status.ok()) continue;
    return absl::Status(status.code(),
                        absl::StrCat("tensor '", group_.name, "': ", status.message()));
  }
  return absl::OkStatus();
}

absl::Status GroupLoader::Load(int64_t number, char* buffer) {
  const Block& block = blocks_[number];
  const BundleEntry& entry = index_.entries[group_.pieces[block.piece].entry];
  return LoadBy(number, buffer, [&](char* out) {
    const absl::Status status =
        files_.Read(entry.shard_id, entry.offset + block.begin, block.size, out);
    return status.ok() ? status : Located(block, status);
  });
}

absl::Status GroupLoader::LoadBy(int64_t number, char* buffer, const ReadBlock& read) {
  Block& block = blocks_[number];
  char* direct = DirectMemory(block);
  char* bytes = direct != nullptr ? direct : buffer;
  const absl::Status status = read(bytes);
  if (!status.ok()) return status;
  block.crc = Sum(bytes, block.size);
  return Scatter(block, bytes);
}

absl::Status GroupLoader::LoadFrom(const char* bytes, int64_t offset) {
  for (Block& block : blocks_) {
    const BundleEntry& entry = index_.entries[group_.pieces[block.piece].entry];
    const char* from = bytes + (entry.offset + block.begin - offset);
    block.crc = Sum(from, block.size);
    const absl::Status status = Scatter(block, from);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status GroupLoader::LoadFromRange(int64_t number, const char* bytes) {
  Block& block = blocks_[number];
  const char* from = bytes + (block.begin - ranges_[block.range].begin);
  block.crc = Sum(from, block.size);
  return Scatter(block, from);
}

std::vector<uint32_t> GroupLoader::RangeSums() const {
  std::vector<absl::crc32c_t> sums(ranges_.size(), absl::crc32c_t{0});
  for (const Block& block : blocks_) {
    sums[block.range] = absl::ConcatCrc32c(sums[block.range], block.crc, block.size);
  }
  std::vector<uint32_t> numbers;
  for (absl::crc32c_t sum : sums) numbers.push_back(static_cast<uint32_t>(sum));
  return numbers;
}

absl::Status GroupLoader::CheckSums() const {
  const std::vector<uint32_t> sums = RangeSums();
  for (size_t i = 0; i < sums.size(); ++i) {
    const BundleEntry& entry = index_.entries[group_.pieces[ranges_[i].piece].entry];
    const uint32_t crc = sums[i];
    if (crc == entry.crc32c) continue;
    return absl::DataLossError(absl::StrCat(
        entry.ToString(), ": ", files_.Range(entry.shard_id, entry.offset, entry.size_bytes),
        " have the CRC ", absl::Hex(crc, absl::kZeroPad8), ", written with ",
        absl::Hex(entry.crc32c, absl::kZeroPad8)));
  }
  return absl::OkStatus();
}

}  // namespace autodist
