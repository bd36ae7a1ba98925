// The part of a restore plan for one task of a cluster, as numbers that the client sends to the
// task.
//
//   part:    number of data files, then per tensor: dtype, rank, shape, number of targets, targets,
//            number of pieces, pieces
//   target:  number, place
//   piece:   data file, offset, place, number of deliveries, their targets among those listed
//   place:   0 for the whole tensor, or 1 and per axis: start, length (-1: all of the axis)

#include "restore/restore_part.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "core/number_reader.h"
#include "format/values/element_type.h"
#include "format/values/shape_and_slice.h"

namespace autodist {
namespace {

using tensorflow::TensorSlice;

constexpr int64_t kMostAxes = 254;
constexpr int64_t kAllOfAxis = -1;

void AppendBox(const Box& box, const Dims& shape, std::vector<int64_t>* numbers) {
  const bool is_whole = box.extent == shape;
  numbers->push_back(is_whole ? 0 : 1);
  if (is_whole) return;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    numbers->insert(numbers->end(), {box.start[axis], box.extent[axis]});
  }
}

void AppendSlice(const std::optional<TensorSlice>& slice, std::vector<int64_t>* numbers) {
  numbers->push_back(slice ? 1 : 0);
  if (!slice) return;
  for (int axis = 0; axis < slice->dims(); ++axis) {
    const bool is_full = slice->IsFullAt(axis);
    numbers->push_back(is_full ? 0 : slice->start(axis));
    numbers->push_back(is_full ? kAllOfAxis : slice->length(axis));
  }
}

// What one task takes of a group.
class GroupPart {
 public:
  // Returns the number of the target among those of the task.
  int AddTarget(const Target& target, int number, const Dims& shape) {
    targets_.push_back(number);
    AppendBox(target.box, shape, &targets_);
    return target_count_++;
  }

  // REQUIRES: the caller adds all deliveries of a piece before those of the next.
  void AddDelivery(const BundleIndex& index, const Piece& piece, int target, EncodedPart* part) {
    if (last_entry_ != piece.entry) {
      last_entry_ = piece.entry;
      part->entries.push_back(piece.entry);
      const BundleEntry& entry = index.entries[piece.entry];
      pieces_.insert(pieces_.end(), {entry.shard_id, entry.offset});
      AppendSlice(entry.slice, &pieces_);
      count_at_ = pieces_.size();
      pieces_.push_back(0);
      ++piece_count_;
    }
    ++pieces_[count_at_];
    pieces_.push_back(target);
  }

  void AppendTo(const Group& group, EncodedPart* part) const {
    std::vector<int64_t>& numbers = part->numbers;
    numbers.insert(numbers.end(), {group.dtype, static_cast<int64_t>(group.shape.size())});
    numbers.insert(numbers.end(), group.shape.begin(), group.shape.end());
    numbers.push_back(target_count_);
    numbers.insert(numbers.end(), targets_.begin(), targets_.end());
    numbers.push_back(piece_count_);
    numbers.insert(numbers.end(), pieces_.begin(), pieces_.end());
    part->names.push_back(group.name);
  }

 private:
  std::vector<int64_t> targets_, pieces_;
  int target_count_ = 0, piece_count_ = 0;
  int last_entry_ = -1;
  size_t count_at_ = 0;  // of the last piece: where its number of deliveries is
};

std::optional<TensorSlice> NextSlice(int rank, NumberReader* numbers) {
  if (numbers->Next(0, 1) == 0) return std::nullopt;
  TensorSlice slice(rank);
  for (int axis = 0; axis < rank; ++axis) {
    const int64_t start = numbers->Natural();
    const int64_t length = numbers->Next(kAllOfAxis, INT64_MAX);
    if (length == kAllOfAxis) continue;
    slice.set_start(axis, start);
    slice.set_length(axis, length);
  }
  return slice;
}

// The box of a slice, if it lies in a tensor of `shape`.
std::optional<Box> BoxIn(const std::optional<TensorSlice>& slice, const Dims& shape) {
  if (!slice) return Box::Whole(shape);
  absl::StatusOr<Box> box = BoxOf(*slice, shape);
  if (!box.ok()) return std::nullopt;
  return *std::move(box);
}

class PartReader {
 public:
  PartReader(NumberReader* numbers, int target_count)
      : numbers_(*numbers), target_count_(target_count) {
    part_.index.shard_count = static_cast<int>(numbers_.Next(0, INT32_MAX));
  }

  bool ReadGroup(const std::string& name) {
    Group group;
    group.name = name;
    group.dtype = static_cast<tensorflow::DataType>(numbers_.Next(1, tensorflow::DataType_MAX));
    group.shape = numbers_.Naturals(numbers_.Next(0, kMostAxes));
    const std::optional<int64_t> elements = CheckedElements(group.shape);
    const int64_t element_bytes = SavedElementBytes(group.dtype);
    if (numbers_.has_failed() || !elements || element_bytes == 0 ||
        *elements > INT64_MAX / element_bytes) {
      return false;
    }
    const int rank = static_cast<int>(group.shape.size());
    for (int64_t left = numbers_.Count(); left > 0; --left) {
      const int64_t number = numbers_.Next(0, target_count_ - 1);
      std::optional<Box> box = BoxIn(NextSlice(rank, &numbers_), group.shape);
      if (numbers_.has_failed() || !box) return false;
      group.targets.push_back({static_cast<int>(number), *std::move(box)});
    }
    for (int64_t left = numbers_.Count(); left > 0; --left) {
      if (!ReadPiece(element_bytes, &group)) return false;
    }
    part_.plan.groups.push_back(std::move(group));
    return !numbers_.has_failed();
  }

  RestorePart Finish() && { return std::move(part_); }

 private:
  bool ReadPiece(int64_t element_bytes, Group* group) {
    BundleEntry entry{};
    entry.name = group->name;
    entry.dtype = group->dtype;
    entry.shard_id = static_cast<int>(numbers_.Next(0, part_.index.shard_count - 1));
    entry.offset = numbers_.Natural();
    entry.slice = NextSlice(static_cast<int>(group->shape.size()), &numbers_);
    const std::optional<Box> box = BoxIn(entry.slice, group->shape);
    if (numbers_.has_failed() || !box) return false;
    entry.shape = box->extent;
    entry.size_bytes = box->elements() * element_bytes;
    const int64_t most = INT64_MAX - entry.size_bytes;
    if (entry.offset > most || group->size_bytes > most) return false;
    Piece piece{static_cast<int>(part_.index.entries.size()), {}};
    int64_t end = 0;
    for (int64_t left = numbers_.Count(); left > 0; --left) {
      const int64_t target = numbers_.Next(0, static_cast<int64_t>(group->targets.size()) - 1);
      if (numbers_.has_failed()) return false;
      RunPlan runs = RunPlan::OfShared(*box, group->targets[target].box);
      end = std::max(end, runs.end_output());
      piece.deliveries.push_back({static_cast<int>(target), std::move(runs), end});
    }
    group->size_bytes += entry.size_bytes;
    group->pieces.push_back(std::move(piece));
    part_.index.entries.push_back(std::move(entry));
    return true;
  }

  NumberReader& numbers_;
  const int target_count_;
  RestorePart part_;
};

}  // namespace

std::vector<EncodedPart> EncodeParts(const BundleIndex& index, const RestorePlan& plan,
                                     const std::vector<TargetPlace>& places, int task_count) {
  std::vector<EncodedPart> parts(task_count);
  for (EncodedPart& part : parts) part.numbers.push_back(index.shard_count);
  for (const Group& group : plan.groups) {
    std::map<int, GroupPart> by_task;
    std::vector<int> numbers;  // by target: among those of its task
    numbers.reserve(group.targets.size());
    for (const Target& target : group.targets) {
      const auto [task, number] = places[target.number];
      numbers.push_back(by_task[task].AddTarget(target, number, group.shape));
    }
    for (const Piece& piece : group.pieces) {
      for (const Delivery& delivery : piece.deliveries) {
        const int task = places[group.targets[delivery.target].number].task;
        by_task[task].AddDelivery(index, piece, numbers[delivery.target], &parts[task]);
      }
    }
    for (const auto& [task, part] : by_task) part.AppendTo(group, &parts[task]);
  }
  return parts;
}

absl::StatusOr<RestorePart> DecodePart(absl::Span<const int64_t> numbers,
                                       const std::vector<std::string>& names, int target_count) {
  NumberReader input(numbers.data(), numbers.size());
  PartReader reader(&input, target_count);
  const bool is_right = std::all_of(names.begin(), names.end(), [&reader](const std::string& name) {
    return reader.ReadGroup(name);
  });
  if (is_right && input.is_complete()) return std::move(reader).Finish();
  return absl::InvalidArgumentError("the part of a restore is not as it was encoded");
}

}  // namespace autodist
