#include "core/boxes/runs.h"

namespace autodist {
namespace {

// The place of the element at `index` in a dense tensor of `shape`.
int64_t Place(const Dims& shape, const Dims& index) {
  int64_t place = 0;
  for (size_t axis = 0; axis < shape.size(); ++axis) place = place * shape[axis] + index[axis];
  return place;
}

Dims Difference(const Dims& a, const Dims& b) {
  Dims difference(a.size());
  for (size_t axis = 0; axis < a.size(); ++axis) difference[axis] = a[axis] - b[axis];
  return difference;
}

}  // namespace

RunPlan::RunPlan(const Dims& shape, const Box& box)
    : RunPlan(shape, Place(shape, box.start), box.extent, 0, box.extent) {}

RunPlan RunPlan::OfShared(const Box& output, const Box& source) {
  const std::optional<Box> shared = Intersect(output, source);
  if (!shared) return RunPlan();
  return RunPlan(output.extent, Place(output.extent, Difference(shared->start, output.start)),
                 source.extent, Place(source.extent, Difference(shared->start, source.start)),
                 shared->extent);
}

RunPlan::RunPlan(const Dims& shape, int64_t first_output, const Dims& source_shape,
                 int64_t first_source, const Dims& extent) {
  if (CheckedElements(extent).value() == 0) return;
  base_ = first_output;
  source_base_ = first_source;
  // A run takes in the innermost axes that are complete in both, and the one before them.
  size_t outer = shape.size();
  int64_t stride = 1;
  int64_t source_stride = 1;
  run_length_ = 1;
  while (outer > 0) {
    --outer;
    run_length_ *= extent[outer];
    stride *= shape[outer];
    source_stride *= source_shape[outer];
    if (extent[outer] != shape[outer] || extent[outer] != source_shape[outer]) break;
  }
  end_ = base_ + run_length_;
  for (size_t axis = outer; axis-- > 0;) {
    if (extent[axis] > 1) {
      axes_.push_back(Axis{extent[axis], stride, source_stride});
      end_ += (extent[axis] - 1) * stride;
    }
    stride *= shape[axis];
    source_stride *= source_shape[axis];
  }
  std::reverse(axes_.begin(), axes_.end());
}

RunPlan::Cursor RunPlan::Seek(int64_t output) const {
  Cursor cursor{Dims(axes_.size(), 0), base_, source_base_};
  int64_t rest = output - base_;
  for (size_t axis = 0; axis < axes_.size(); ++axis) {
    const int64_t i = std::min(rest / axes_[axis].stride, axes_[axis].extent - 1);
    cursor.index[axis] = i;
    cursor.output += i * axes_[axis].stride;
    cursor.source += i * axes_[axis].source_stride;
    rest -= i * axes_[axis].stride;
  }
  // `output` may lie behind this run and before the next.
  if (rest >= run_length_) Advance(&cursor);
  return cursor;
}

}  // namespace autodist
