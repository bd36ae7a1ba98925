// What a restore reads, and where each byte of it goes: pure data. The header tells how.

#include "restore/restore_plan.h"

#include <algorithm>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/boxes/tiling.h"
#include "core/planning/transfers.h"
#include "format/values/element_type.h"
#include "format/values/shape_and_slice.h"
#include "restore/unique_lines.h"

namespace autodist {
namespace {

// The targets that take a box, numbered one after the other.
struct Takers {
  int first_target;
  int target_count;
};

// All that is wanted under one name.
struct Wanted {
  const BundleEntry* stored;
  std::vector<Box> boxes;
  std::vector<Takers> takers;  // by box
};

std::string ShapeText(const Dims& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ","), "]");
}

absl::Status CheckStored(const BundleEntry& entry, int shard_count) {
  const auto refuse = [&entry](absl::string_view a, absl::string_view b = "") {
    return absl::DataLossError(absl::StrCat(entry.ToString(), ": ", a, b));
  };
  if (entry.shard_id < 0 || entry.shard_id >= shard_count) {
    return refuse(absl::StrCat("is in data file ", entry.shard_id, " of ", shard_count));
  }
  if (entry.offset < 0 || entry.size_bytes < 0 || entry.offset > INT64_MAX - entry.size_bytes) {
    return refuse(absl::StrCat(entry.size_bytes, " bytes at ", entry.offset, " are not a range"));
  }
  const std::optional<int64_t> elements = CheckedElements(entry.shape);
  if (!elements) return refuse("is too large, with shape ", DimsToString(entry.shape));
  const int64_t element_bytes = SavedElementBytes(entry.dtype);
  if (entry.dtype == tensorflow::DT_STRING) {
    if (*elements <= entry.size_bytes) return absl::OkStatus();
  } else if (element_bytes == 0) {
    return absl::UnimplementedError(absl::StrCat(entry.ToString(), ": values of dtype ",
                                                 tensorflow::DataTypeString(entry.dtype),
                                                 " cannot be restored here"));
  } else if (entry.size_bytes % element_bytes == 0 &&
             entry.size_bytes / element_bytes == *elements) {
    return absl::OkStatus();
  }
  return refuse(absl::StrCat(entry.size_bytes, " bytes are not a ",
                             tensorflow::DataTypeString(entry.dtype), " of shape ",
                             DimsToString(entry.shape)));
}

// The stored pieces of a tensor: their numbers in the index and where they lie in it.
struct Stored {
  std::vector<int> entries;
  std::vector<Box> boxes;
};

absl::StatusOr<Stored> StoredPieces(const BundleIndex& index, const BundleEntry& entry) {
  Stored stored;
  if (entry.slices.empty()) {
    stored.entries.push_back(static_cast<int>(&entry - index.entries.data()));
    stored.boxes.push_back(Box::Whole(entry.shape));
    return stored;
  }
  for (size_t i = 0; i < entry.slices.size(); ++i) {
    const BundleEntry& slice = index.entries[entry.slice_entries[i]];
    absl::StatusOr<Box> box = BoxOf(entry.slices[i], entry.shape);
    if (!box.ok()) {
      return absl::DataLossError(absl::StrCat(slice.ToString(), ": ", box.status().message()));
    }
    if (slice.dtype != entry.dtype || slice.shape != box->extent || !slice.slices.empty()) {
      return absl::DataLossError(absl::StrCat(
          slice.ToString(), ": is a ", tensorflow::DataTypeString(slice.dtype), " of shape ",
          DimsToString(slice.shape), ", but the tensor is a ",
          tensorflow::DataTypeString(entry.dtype), " of shape ", DimsToString(entry.shape)));
    }
    stored.entries.push_back(entry.slice_entries[i]);
    stored.boxes.push_back(*std::move(box));
  }
  if (const auto problem = CheckDisjoint(entry.shape, stored.boxes)) {
    return absl::DataLossError(absl::StrCat(entry.ToString(), ": stored ", *problem));
  }
  return stored;
}

// Takes the boxes of `wanted`.
absl::StatusOr<Group> PlanGroup(const BundleIndex& index, Wanted wanted) {
  const BundleEntry& entry = *wanted.stored;
  absl::StatusOr<Stored> stored = StoredPieces(index, entry);
  if (!stored.ok()) return stored.status();
  std::vector<Piece> pieces(stored->boxes.size());
  Group group;
  group.name = entry.name;
  group.dtype = entry.dtype;
  group.shape = entry.shape;
  // Of each box the number of its first target in the group.
  std::vector<int> firsts;
  firsts.reserve(wanted.boxes.size());
  int target_count = 0;
  for (const Takers& takers : wanted.takers) {
    firsts.push_back(target_count);
    target_count += takers.target_count;
  }
  const auto missing =
      PlanTransfers(stored->boxes, wanted.boxes, [&](int piece, int box, RunPlan runs) {
        const int count = wanted.takers[box].target_count;
        for (int n = 0; n < count; ++n) {
          pieces[piece].deliveries.push_back(
              {firsts[box] + n, n + 1 == count ? std::move(runs) : runs, 0});
        }
      });
  if (missing) return absl::DataLossError(absl::StrCat(entry.ToString(), ": ", *missing));
  group.targets.reserve(target_count);
  for (size_t i = 0; i < wanted.boxes.size(); ++i) {
    const auto [first, count] = wanted.takers[i];
    Box& box = wanted.boxes[i];
    for (int n = 0; n < count; ++n) {
      group.targets.push_back({first + n, n + 1 == count ? std::move(box) : box});
    }
  }
  wanted = Wanted();
  size_t kept = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i].deliveries.empty()) continue;
    const BundleEntry& piece_entry = index.entries[stored->entries[i]];
    const absl::Status status = CheckStored(piece_entry, index.shard_count);
    if (!status.ok()) return status;
    Piece& piece = pieces[i];
    piece.entry = stored->entries[i];
    std::stable_sort(piece.deliveries.begin(), piece.deliveries.end(),
                     [](const Delivery& a, const Delivery& b) {
                       return a.runs.first_output() < b.runs.first_output();
                     });
    int64_t end = 0;
    for (Delivery& delivery : piece.deliveries) {
      end = std::max(end, delivery.runs.end_output());
      delivery.end = end;
    }
    group.size_bytes += piece_entry.size_bytes;
    if (kept != i) pieces[kept] = std::move(piece);
    ++kept;
  }
  pieces.resize(kept);
  group.pieces = std::move(pieces);
  const auto place = [&index](const Piece& piece) {
    const BundleEntry& at = index.entries[piece.entry];
    return std::make_tuple(at.shard_id, at.offset, piece.entry);
  };
  std::sort(group.pieces.begin(), group.pieces.end(),
            [&place](const Piece& a, const Piece& b) { return place(a) < place(b); });
  return group;
}

// Collects what is wanted by name, and all that cannot be had.
class Request {
 public:
  explicit Request(const BundleIndex& index) : index_(index) {
    by_name_.reserve(index.entries.size());
    for (size_t i = 0; i < index.entries.size(); ++i) {
      if (!index.entries[i].slice.has_value()) by_name_.emplace(index.entries[i].name, i);
    }
  }

  void Add(const RestoreEntry& entry) {
    const auto found = by_name_.find(entry.name);
    if (found == by_name_.end()) {
      missing_.Add(absl::StrCat("Key ", absl::CHexEscape(entry.name), " not found in checkpoint"));
      return;
    }
    const BundleEntry& stored = index_.entries[found->second];
    absl::StatusOr<Box> box = Fit(entry, stored);
    if (!box.ok()) {
      unfit_.Add(absl::StrCat("tensor_name = ", absl::CHexEscape(entry.name), "; ",
                              box.status().message()));
      return;
    }
    if (entry.target_count == 0) return;
    const auto [place, is_new] = group_of_.emplace(entry.name, wanted_.size());
    if (is_new) wanted_.push_back({&stored, {}, {}});
    Wanted& wanted = wanted_[place->second];
    wanted.boxes.push_back(*std::move(box));
    wanted.takers.push_back({entry.first_target, entry.target_count});
  }

  absl::Status status() const {
    if (!missing_.empty()) return absl::NotFoundError(missing_.text());
    if (!unfit_.empty()) return absl::InvalidArgumentError(unfit_.text());
    return absl::OkStatus();
  }

  std::vector<Wanted>& wanted() { return wanted_; }

 private:
  // Where the entry lies in the stored tensor. The texts are those of stock RestoreV2.
  static absl::StatusOr<Box> Fit(const RestoreEntry& entry, const BundleEntry& stored) {
    if (entry.dtype != stored.dtype) {
      return absl::InvalidArgumentError(absl::StrCat(
          "expected dtype ", tensorflow::DataTypeString(entry.dtype),
          " does not equal original dtype ", tensorflow::DataTypeString(stored.dtype)));
    }
    if (entry.shape_and_slice.empty()) return Box::Whole(stored.shape);
    absl::StatusOr<Place> place = ParseShapeAndSlice(entry.shape_and_slice);
    if (!place.ok()) return place.status();
    if (place->shape != stored.shape) {
      return absl::InvalidArgumentError(absl::StrCat(
          "shape in shape_and_slice spec ", ShapeText(place->shape),
          " does not match the shape stored in checkpoint: ", ShapeText(stored.shape)));
    }
    return std::move(place->box);
  }

  const BundleIndex& index_;
  std::unordered_map<absl::string_view, size_t> by_name_;
  std::unordered_map<std::string, size_t> group_of_;
  std::vector<Wanted> wanted_;
  UniqueLines missing_;
  UniqueLines unfit_;
};

}  // namespace

absl::StatusOr<RestorePlan> BuildRestorePlan(const BundleIndex& index,
                                             const std::vector<RestoreEntry>& entries) {
  Request request(index);
  for (const RestoreEntry& entry : entries) request.Add(entry);
  if (!request.status().ok()) return request.status();
  RestorePlan plan;
  plan.groups.reserve(request.wanted().size());
  for (Wanted& wanted : request.wanted()) {
    absl::StatusOr<Group> group = PlanGroup(index, std::move(wanted));
    if (!group.ok()) return group.status();
    plan.groups.push_back(*std::move(group));
  }
  const auto place = [&index](const Group& group) {
    if (group.pieces.empty()) return std::make_tuple(-1, int64_t{0});
    const BundleEntry& first = index.entries[group.pieces[0].entry];
    return std::make_tuple(first.shard_id, first.offset);
  };
  std::stable_sort(plan.groups.begin(), plan.groups.end(),
                   [&place](const Group& a, const Group& b) { return place(a) < place(b); });
  return plan;
}

}  // namespace autodist
