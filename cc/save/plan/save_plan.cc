// Groups the entries of a save by name and by slice, and checks each name.
//
//   name  slice                     box             group
//   w     "4 2 0,2:-"    source 0   [0, 2)x[0, 2)   w, shard 0, replica 0
//   w     "4 2 0,2:-"    source 1   [0, 2)x[0, 2)   w, shard 0, replica 1
//   w     "4 2 2,2:-"    source 2   [2, 4)x[0, 2)   w, shard 1, replica 0
//   b     ""             source 3   the whole of b  b, shard 0, replica 0

#include "save/plan/save_plan.h"

#include <functional>
#include <memory>
#include <optional>
#include <unordered_set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/boxes/tiling.h"
#include "format/values/element_type.h"
#include "format/values/shape_and_slice.h"

namespace autodist {
namespace {

constexpr std::pair<Aggregation, absl::string_view> kAggregations[] = {
    {Aggregation::kMean, "MEAN"},
    {Aggregation::kSum, "SUM"},
    {Aggregation::kOnlyFirstReplica, "ONLY_FIRST_REPLICA"},
};

absl::string_view NameOf(Aggregation aggregation) {
  for (const auto& [known, name] : kAggregations) {
    if (known == aggregation) return name;
  }
  return "";
}

absl::Status Refuse(const std::string& name, absl::string_view problem) {
  return absl::InvalidArgumentError(
      absl::StrCat("variable '", absl::CHexEscape(name), "': ", problem));
}

absl::StatusOr<Place> PlaceOf(const SaveEntry& entry) {
  if (entry.shape_and_slice.empty()) {
    const Dims shape = DimsOf(entry.shape);
    return Place{shape, Box::Whole(shape), tensorflow::TensorSlice(entry.shape.dims())};
  }
  absl::StatusOr<Place> place = ParseShapeAndSlice(entry.shape_and_slice);
  if (!place.ok()) return Refuse(entry.name, place.status().message());
  return place;
}

// Hashes and compares shards, given by their numbers in a list, by their boxes. The list may move.
struct HashOfBox {
  const std::vector<PlannedShard>* const* shards;
  size_t operator()(int number) const {
    const Box& box = (**shards)[number].box;
    size_t hash = 0;
    for (const Dims* dims : {&box.start, &box.extent}) {
      for (int64_t at : *dims) {
        hash = (hash ^ static_cast<size_t>(at)) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
      }
    }
    return hash;
  }
};

struct HasSameBox {
  const std::vector<PlannedShard>* const* shards;
  bool operator()(int a, int b) const { return (**shards)[a].box == (**shards)[b].box; }
};

// What is needed to find one of several shards by its box.
struct ByBox {
  const std::vector<PlannedShard>* shards = nullptr;
  std::unordered_set<int, HashOfBox, HasSameBox> numbers{0, HashOfBox{&shards},
                                                         HasSameBox{&shards}};
};

}  // namespace

// All entries of one name.
struct SavePlanBuilder::Variable {
  PlannedTensor whole;                          // as one tensor
  bool is_whole;                                // not written as slices, unless it is one
  std::vector<tensorflow::TensorSlice> slices;  // of the shards, if they are written as slices
  std::unique_ptr<ByBox> by_box;                // null for one shard, as most variables have

  absl::Status Refuse(absl::string_view problem) const {
    return autodist::Refuse(whole.name, problem);
  }

  // Adds `entry`, which lies at `place`.
  absl::Status Add(const SaveEntry& entry, Place place, Aggregation aggregation) {
    const Dims value_shape = DimsOf(entry.shape);
    if (value_shape != place.box.extent) {
      return Refuse(absl::StrCat("shard ", place.box.ToString(), " needs a value of shape ",
                                 DimsToString(place.box.extent), ", got one of shape ",
                                 DimsToString(value_shape)));
    }
    if (place.shape != whole.shape) {
      return Refuse(absl::StrCat("entries disagree in the full shape: ", DimsToString(whole.shape),
                                 " and ", DimsToString(place.shape)));
    }
    if (entry.dtype != whole.dtype) {
      return Refuse(absl::StrCat(
          "entries disagree in dtype: ", tensorflow::DataTypeString(whole.dtype), " in shard ",
          whole.shards[0].box.ToString(), " and ", tensorflow::DataTypeString(entry.dtype),
          " in shard ", place.box.ToString()));
    }
    if (aggregation != whole.aggregation) {
      return Refuse(absl::StrCat("entries disagree in aggregation: ", NameOf(whole.aggregation),
                                 " and ", entry.aggregation));
    }
    whole.shards[FindOrAdd(std::move(place))].sources.push_back(entry.source);
    return absl::OkStatus();
  }

  // The number of the shard at `place`.
  int FindOrAdd(Place place) {
    std::vector<PlannedShard>& shards = whole.shards;
    const int next = static_cast<int>(shards.size());
    if (next > 0 && place.box == shards[0].box) return 0;
    shards.emplace_back().box = std::move(place.box);
    if (next > 0) {
      if (by_box == nullptr) by_box = std::make_unique<ByBox>();
      by_box->shards = &shards;
      const auto [found, is_new] = by_box->numbers.insert(next);
      if (!is_new) {
        shards.pop_back();
        return *found;
      }
    }
    if (!is_whole) slices.push_back(std::move(place.slice));
    return next;
  }

  // A single box that is everything is written whole even where slices are asked for, as stock
  // BundleWriter::AddSlice does.
  bool IsOneWhole() const {
    return whole.shards.size() == 1 && whole.shards[0].box.extent == whole.shape;
  }

  // Whether some of the variable is not among its shards, as when other tasks save the rest.
  bool IsPartial() const {
    int64_t covered = 0;
    for (const PlannedShard& shard : whole.shards) covered += shard.box.elements();
    return covered < *CheckedElements(whole.shape);
  }

  absl::Status CheckBoxes(bool may_be_partial) const {
    if (IsOneWhole() || (may_be_partial && IsPartial())) return absl::OkStatus();
    std::vector<Box> boxes;
    boxes.reserve(whole.shards.size());
    for (const PlannedShard& shard : whole.shards) boxes.push_back(shard.box);
    const std::optional<std::string> problem = CheckTiling(whole.shape, boxes);
    return problem.has_value() ? Refuse(*problem) : absl::OkStatus();
  }

  absl::Status Check(bool may_be_partial) const {
    const tensorflow::DataType dtype = whole.dtype;
    if (SavedElementBytes(dtype) == 0 && dtype != tensorflow::DT_STRING &&
        dtype != tensorflow::DT_VARIANT) {
      return Refuse(
          absl::StrCat("values of dtype ", tensorflow::DataTypeString(dtype), " cannot be saved"));
    }
    absl::Status status = CheckBoxes(may_be_partial);
    if (!status.ok()) return status;
    if (CanReduce(whole.aggregation, ArithmeticOf(dtype).type)) return absl::OkStatus();
    for (const PlannedShard& shard : whole.shards) {
      if (shard.sources.size() < 2) continue;
      return Refuse(absl::StrCat("aggregation ", NameOf(whole.aggregation), " of ",
                                 shard.sources.size(), " replicas of shard ", shard.box.ToString(),
                                 " is not defined for dtype ", tensorflow::DataTypeString(dtype)));
    }
    return absl::OkStatus();
  }

  void PlanSlices(SavePlan* plan) {
    for (size_t i = 0; i < whole.shards.size(); ++i) {
      PlannedShard& shard = whole.shards[i];
      PlannedTensor tensor;
      tensor.name = whole.name;
      tensor.dtype = whole.dtype;
      tensor.shape = shard.box.extent;
      tensor.aggregation = whole.aggregation;
      tensor.shards.push_back({Box::Whole(tensor.shape), std::move(shard.sources)});
      tensor.slice_of = std::make_shared<SliceOf>(SliceOf{whole.shape, std::move(slices[i])});
      plan->tensors.push_back(std::move(tensor));
    }
  }
};

std::string PlannedTensor::ToString() const {
  if (slice_of == nullptr) return absl::StrCat("variable '", absl::CHexEscape(name), "'");
  return absl::StrCat("variable '", absl::CHexEscape(name), "', slice ",
                      slice_of->slice.DebugString());
}

absl::StatusOr<SaveLayout> ParseSaveLayout(absl::string_view name) {
  if (name == "original") return SaveLayout::kOriginal;
  if (name == "slices") return SaveLayout::kSlices;
  if (name == "restorable") return SaveLayout::kRestorable;
  return absl::InvalidArgumentError(
      absl::StrCat("layout '", name, "' is none of original, slices, restorable"));
}

bool IsWrittenWhole(tensorflow::DataType dtype, SaveLayout layout, bool own_files) {
  switch (layout) {
    case SaveLayout::kOriginal:
      return !own_files || !IsRestorableInSlices(dtype);
    case SaveLayout::kSlices:
      return false;
    case SaveLayout::kRestorable:
      return !own_files && IsRestorableInSlices(dtype);
  }
  return false;
}

absl::StatusOr<Aggregation> ParseAggregation(absl::string_view name) {
  for (const auto& [aggregation, known] : kAggregations) {
    if (name == known) return aggregation;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("aggregation '", name, "' is none of MEAN, SUM, ONLY_FIRST_REPLICA"));
}

absl::string_view SavePlanBuilder::Names::operator[](int number) const {
  return number == kWanted ? wanted : absl::string_view((*variables)[number].whole.name);
}

size_t SavePlanBuilder::HashOfName::operator()(int number) const {
  return std::hash<absl::string_view>()((*names)[number]);
}

bool SavePlanBuilder::HasSameName::operator()(int a, int b) const {
  return (*names)[a] == (*names)[b];
}

SavePlanBuilder::SavePlanBuilder(SaveLayout layout)
    : layout_(layout),
      names_{&variables_, {}},
      by_name_(0, HashOfName{&names_}, HasSameName{&names_}) {}

SavePlanBuilder::~SavePlanBuilder() = default;

int SavePlanBuilder::Find(absl::string_view name) {
  names_.wanted = name;
  const auto found = by_name_.find(Names::kWanted);
  return found == by_name_.end() ? Names::kWanted : *found;
}

absl::Status SavePlanBuilder::Add(const SaveEntry& entry) {
  if (entry.name.empty()) return absl::InvalidArgumentError("the name of a variable is empty");
  absl::StatusOr<Aggregation> aggregation = ParseAggregation(entry.aggregation);
  if (!aggregation.ok()) return Refuse(entry.name, aggregation.status().message());
  absl::StatusOr<Place> place = PlaceOf(entry);
  if (!place.ok()) return place.status();
  const int found = Find(entry.name);
  if (found != Names::kWanted) {
    return variables_[found].Add(entry, *std::move(place), *aggregation);
  }
  Variable& variable = variables_.emplace_back();
  variable.whole.name = entry.name;
  variable.whole.aggregation = *aggregation;
  variable.whole.dtype = entry.dtype;
  variable.whole.shape = place->shape;
  variable.is_whole = IsWrittenWhole(entry.dtype, layout_, /*own_files=*/false);
  by_name_.insert(static_cast<int>(variables_.size()) - 1);
  return variable.Add(entry, *std::move(place), *aggregation);
}

absl::StatusOr<SavePlan> SavePlanBuilder::Finish() {
  SavePlan plan;
  by_name_.clear();
  plan.tensors.reserve(variables_.size());
  for (Variable& variable : variables_) {
    const absl::Status status = variable.Check(layout_ == SaveLayout::kSlices);
    if (!status.ok()) return status;
    PlannedTensor& whole = variable.whole;
    ++plan.variable_count;
    plan.shard_count += whole.shards.size();
    for (PlannedShard& shard : whole.shards) {
      plan.replica_count += shard.sources.size();
      if (TakesFirstReplica(whole.aggregation, whole.dtype)) shard.sources.resize(1);
    }
    if (variable.is_whole || variable.IsOneWhole()) {
      whole.shards.shrink_to_fit();
      plan.tensors.push_back(std::move(whole));
    } else {
      variable.PlanSlices(&plan);
    }
    variable.by_box = nullptr;
  }
  std::vector<Variable>().swap(variables_);
  return plan;
}

absl::StatusOr<SavePlan> BuildSavePlan(const std::vector<SaveEntry>& entries, SaveLayout layout) {
  SavePlanBuilder builder(layout);
  for (const SaveEntry& entry : entries) {
    const absl::Status status = builder.Add(entry);
    if (!status.ok()) return status;
  }
  return builder.Finish();
}

std::vector<int> SourcesOf(const PlannedTensor& planned, absl::Span<const int> shards) {
  std::vector<int> sources;
  for (int shard : shards) {
    const auto& replicas = planned.shards[shard].sources;
    sources.insert(sources.end(), replicas.begin(), replicas.end());
  }
  return sources;
}

}  // namespace autodist
