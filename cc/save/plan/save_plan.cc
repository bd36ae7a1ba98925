// Groups the entries of a save by name and by slice, and checks each name.
//
//   name  slice                     box             group
//   w     "4 2 0,2:-"    source 0   [0, 2)x[0, 2)   w, shard 0, replica 0
//   w     "4 2 0,2:-"    source 1   [0, 2)x[0, 2)   w, shard 0, replica 1
//   w     "4 2 2,2:-"    source 2   [2, 4)x[0, 2)   w, shard 1, replica 0
//   b     ""             source 3   the whole of b  b, shard 0, replica 0

#include "save/plan/save_plan.h"

#include <map>
#include <unordered_map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/boxes/tiling.h"
#include "format/values/element_type.h"
#include "format/values/shape_and_slice.h"

namespace autodist {
namespace {

// All entries of one name.
struct Variable {
  std::string name;
  const SaveEntry* first;  // the entry others must agree with
  Aggregation aggregation;
  Dims shape;
  std::vector<Box> boxes;
  std::vector<tensorflow::TensorSlice> slices;
  std::vector<std::vector<int>> sources;
  // Of all boxes but the first: most variables have no other.
  std::map<std::pair<Dims, Dims>, int> later_boxes;

  // The number of the shard at `place`.
  int FindOrAdd(Place place) {
    const int next = static_cast<int>(boxes.size());
    if (next > 0) {
      if (place.box == boxes[0]) return 0;
      const auto [found, is_new] =
          later_boxes.emplace(std::make_pair(place.box.start, place.box.extent), next);
      if (!is_new) return found->second;
    }
    boxes.push_back(std::move(place.box));
    slices.push_back(std::move(place.slice));
    sources.emplace_back();
    return next;
  }
};

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

// Adds `entry`, at `place`, to the variable of its name.
absl::Status AddEntry(const SaveEntry& entry, Place place, Aggregation aggregation,
                      Variable* variable) {
  const Dims value_shape = DimsOf(entry.shape);
  if (value_shape != place.box.extent) {
    return Refuse(entry.name,
                  absl::StrCat("shard ", place.box.ToString(), " needs a value of shape ",
                               DimsToString(place.box.extent), ", got one of shape ",
                               DimsToString(value_shape)));
  }
  if (place.shape != variable->shape) {
    return Refuse(entry.name,
                  absl::StrCat("entries disagree in the full shape: ",
                               DimsToString(variable->shape), " and ", DimsToString(place.shape)));
  }
  if (entry.dtype != variable->first->dtype) {
    return Refuse(entry.name, absl::StrCat("entries disagree in dtype: ",
                                           tensorflow::DataTypeString(variable->first->dtype),
                                           " in shard ", variable->boxes[0].ToString(), " and ",
                                           tensorflow::DataTypeString(entry.dtype), " in shard ",
                                           place.box.ToString()));
  }
  if (aggregation != variable->aggregation) {
    return Refuse(entry.name,
                  absl::StrCat("entries disagree in aggregation: ", variable->first->aggregation,
                               " and ", entry.aggregation));
  }
  const int shard = variable->FindOrAdd(std::move(place));
  variable->sources[shard].push_back(entry.source);
  return absl::OkStatus();
}

// Whether some of the variable is not among its boxes, as when other tasks save the rest.
bool IsPartial(const Variable& variable) {
  int64_t covered = 0;
  for (const Box& box : variable.boxes) covered += box.elements();
  return covered < *CheckedElements(variable.shape);
}

absl::Status CheckVariable(const Variable& variable, bool may_be_partial) {
  const tensorflow::DataType dtype = variable.first->dtype;
  if (SavedElementBytes(dtype) == 0 && dtype != tensorflow::DT_STRING &&
      dtype != tensorflow::DT_VARIANT) {
    return Refuse(variable.name, absl::StrCat("values of dtype ", tensorflow::DataTypeString(dtype),
                                              " cannot be saved"));
  }
  if (!(may_be_partial && IsPartial(variable))) {
    if (const auto problem = CheckTiling(variable.shape, variable.boxes); problem.has_value()) {
      return Refuse(variable.name, *problem);
    }
  }
  if (!CanReduce(variable.aggregation, ArithmeticOf(dtype).type)) {
    for (size_t i = 0; i < variable.boxes.size(); ++i) {
      if (variable.sources[i].size() < 2) continue;
      return Refuse(variable.name,
                    absl::StrCat("aggregation ", variable.first->aggregation, " of ",
                                 variable.sources[i].size(), " replicas of shard ",
                                 variable.boxes[i].ToString(), " is not defined for dtype ",
                                 tensorflow::DataTypeString(dtype)));
    }
  }
  return absl::OkStatus();
}

void PlanWhole(Variable variable, SavePlan* plan) {
  PlannedTensor tensor;
  tensor.name = std::move(variable.name);
  tensor.dtype = variable.first->dtype;
  tensor.shape = std::move(variable.shape);
  tensor.aggregation = variable.aggregation;
  for (size_t i = 0; i < variable.boxes.size(); ++i) {
    tensor.shards.push_back({std::move(variable.boxes[i]), std::move(variable.sources[i])});
  }
  plan->tensors.push_back(std::move(tensor));
}

void PlanSlices(Variable variable, SavePlan* plan) {
  for (size_t i = 0; i < variable.boxes.size(); ++i) {
    PlannedTensor tensor;
    tensor.name = variable.name;
    tensor.dtype = variable.first->dtype;
    tensor.shape = variable.boxes[i].extent;
    tensor.aggregation = variable.aggregation;
    tensor.shards.push_back({Box::Whole(tensor.shape), std::move(variable.sources[i])});
    tensor.slice_of = SliceOf{variable.shape, std::move(variable.slices[i])};
    plan->tensors.push_back(std::move(tensor));
  }
}

// A single box that is everything is written whole even where slices are asked for, as stock
// BundleWriter::AddSlice does.
bool IsOneWhole(const Variable& variable) {
  return variable.boxes.size() == 1 && variable.boxes[0].extent == variable.shape;
}

}  // namespace

std::string PlannedTensor::ToString() const {
  if (!slice_of.has_value()) return absl::StrCat("variable '", absl::CHexEscape(name), "'");
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
  if (name == "MEAN") return Aggregation::kMean;
  if (name == "SUM") return Aggregation::kSum;
  if (name == "ONLY_FIRST_REPLICA") return Aggregation::kOnlyFirstReplica;
  return absl::InvalidArgumentError(
      absl::StrCat("aggregation '", name, "' is none of MEAN, SUM, ONLY_FIRST_REPLICA"));
}

absl::StatusOr<SavePlan> BuildSavePlan(const std::vector<SaveEntry>& entries, SaveLayout layout) {
  std::vector<Variable> variables;
  std::unordered_map<absl::string_view, int> index;  // of names in `entries`
  variables.reserve(entries.size());
  index.reserve(entries.size());
  for (const SaveEntry& entry : entries) {
    if (entry.name.empty()) {
      return absl::InvalidArgumentError("the name of a variable is empty");
    }
    absl::StatusOr<Aggregation> aggregation = ParseAggregation(entry.aggregation);
    if (!aggregation.ok()) return Refuse(entry.name, aggregation.status().message());
    absl::StatusOr<Place> place = PlaceOf(entry);
    if (!place.ok()) return place.status();
    const auto [found, is_new] = index.emplace(entry.name, static_cast<int>(variables.size()));
    if (is_new) {
      Variable variable;
      variable.name = entry.name;
      variable.first = &entry;
      variable.aggregation = *aggregation;
      variable.shape = place->shape;
      variables.push_back(std::move(variable));
    }
    const absl::Status status =
        AddEntry(entry, *std::move(place), *aggregation, &variables[found->second]);
    if (!status.ok()) return status;
  }

  SavePlan plan;
  plan.tensors.reserve(variables.size());
  for (Variable& variable : variables) {
    const absl::Status status = CheckVariable(variable, layout == SaveLayout::kSlices);
    if (!status.ok()) return status;
    ++plan.variable_count;
    plan.shard_count += variable.boxes.size();
    for (std::vector<int>& sources : variable.sources) {
      plan.replica_count += sources.size();
      if (TakesFirstReplica(variable.aggregation, variable.first->dtype)) sources.resize(1);
    }
    if (IsOneWhole(variable) ||
        IsWrittenWhole(variable.first->dtype, layout, /*own_files=*/false)) {
      PlanWhole(std::move(variable), &plan);
    } else {
      PlanSlices(std::move(variable), &plan);
    }
  }
  return plan;
}

std::vector<int> SourcesOf(const PlannedTensor& planned, absl::Span<const int> shards) {
  std::vector<int> sources;
  for (int shard : shards) {
    const std::vector<int>& replicas = planned.shards[shard].sources;
    sources.insert(sources.end(), replicas.begin(), replicas.end());
  }
  return sources;
}

}  // namespace autodist
