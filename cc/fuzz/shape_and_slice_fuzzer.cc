// `shape_and_slice` of a save, several of one name, a line each.

#include <map>
#include <vector>

#include "core/testing/testing_boxes.h"
#include "format/values/shape_and_slice.h"
#include "fuzz/fuzz_bundle.h"
#include "fuzz/fuzz_input.h"
#include "save/plan/save_plan.h"

namespace autodist::fuzz {
namespace {

// What the plan writes of a name that is saved whole: every element once, and each from where it
// is.
void CheckPlan(const PlannedTensor& tensor) {
  if (!CheckedElements(tensor.shape) || *CheckedElements(tensor.shape) > 4096) return;
  std::map<int64_t, int> times;
  for (const PlannedShard& shard : tensor.shards) {
    Require(!shard.sources.empty(), "a shard without a source");
    for (int64_t element : testing::FlatIndices(tensor.shape, shard.box)) ++times[element];
  }
  for (const auto& [element, count] : times) Require(count == 1, "an element saved twice");
  const auto elements = static_cast<size_t>(Box::Whole(tensor.shape).elements());
  Require(times.size() == elements, "an element not saved");
}

}  // namespace

void Fuzz(FuzzInput* input) {
  const auto layout = static_cast<SaveLayout>(input->TakeByte() % 3);
  std::vector<SaveEntry> entries;
  while (!input->is_empty() && entries.size() < 64) {
    const std::string text = input->TakeUntil('\n');
    tensorflow::TensorShape shape;
    if (!text.empty()) {
      const absl::StatusOr<Place> place = ParseShapeAndSlice(text);
      if (!place.ok()) continue;
      Require(place->box.rank() == static_cast<int>(place->shape.size()), "a box of another rank");
      for (int axis = 0; axis < place->box.rank(); ++axis) {
        const int64_t start = place->box.start[axis], extent = place->box.extent[axis];
        Require(start >= 0 && extent >= 0 && start <= place->shape[axis] - extent,
                "a box outside of its shape");
      }
      if (place->box.rank() > tensorflow::TensorShape::MaxDimensions()) continue;
      shape = ShapeOf(place->box.extent);
    }
    entries.push_back(
        {"w", text, "MEAN", static_cast<int>(entries.size()), tensorflow::DT_FLOAT, shape});
  }
  const absl::StatusOr<SavePlan> plan = BuildSavePlan(entries, layout);
  if (!plan.ok() || layout == SaveLayout::kSlices) return;
  for (const PlannedTensor& tensor : plan->tensors) CheckPlan(tensor);
}

}  // namespace autodist::fuzz
