#include "core/runs.h"

namespace autodist {

RunPlan::RunPlan(const Dims& shape, const Box& box) {
  if (box.elements() == 0) return;
  Dims strides(shape.size());
  int64_t stride = 1;
  for (size_t axis = shape.size(); axis-- > 0;) {
    strides[axis] = stride;
    stride *= shape[axis];
    base_ += box.start[axis] * strides[axis];
  }
  // A run takes in the innermost axes that the box covers fully, and the one before them.
  size_t outer = shape.size();
  run_length_ = 1;
  while (outer > 0) {
    --outer;
    run_length_ *= box.extent[outer];
    if (box.extent[outer] != shape[outer]) break;
  }
  run_count_ = 1;
  end_ = base_ + run_length_;
  for (size_t axis = 0; axis < outer; ++axis) {
    if (box.extent[axis] == 1) continue;
    axes_.push_back(Axis{box.extent[axis], strides[axis]});
    run_count_ *= box.extent[axis];
    end_ += (box.extent[axis] - 1) * strides[axis];
  }
}

int64_t RunPlan::Seek(int64_t output, Dims* index, int64_t* run_output) const {
  index->assign(axes_.size(), 0);
  int64_t run = 0;
  int64_t rest = output - base_;
  for (size_t axis = 0; axis < axes_.size(); ++axis) {
    const int64_t i = std::min(rest / axes_[axis].stride, axes_[axis].extent - 1);
    (*index)[axis] = i;
    rest -= i * axes_[axis].stride;
    run = run * axes_[axis].extent + i;
  }
  *run_output = output - rest;
  if (rest < run_length_) return run;
  // `output` lies behind this run and before the next.
  Advance(index, run_output);
  return run + 1;
}

}  // namespace autodist
