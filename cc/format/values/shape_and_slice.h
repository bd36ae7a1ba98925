// The place of a slice in its variable, as `shape_and_slices` of SaveV2 and RestoreV2 spell it.
//
//   "4 10 0,2:-"   of a variable of shape [4, 10] the rows 0 and 1

#ifndef AUTODIST_FORMAT_VALUES_SHAPE_AND_SLICE_H_
#define AUTODIST_FORMAT_VALUES_SHAPE_AND_SLICE_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/boxes/box.h"
#include "tensorflow/core/framework/tensor_shape.h"
#include "tensorflow/core/framework/tensor_slice.h"

namespace autodist {

struct Place {
  Dims shape;  // of the variable
  Box box;
  tensorflow::TensorSlice slice;  // as spelled: '-' stays a full extent
};

// REQUIRES: the text is not empty. InvalidArgument with a text that names no variable; the caller
// knows which.
absl::StatusOr<Place> ParseShapeAndSlice(absl::string_view text);

// Where a stored slice lies; `slice` must be of as many dimensions as `shape` and lie within.
absl::StatusOr<Box> BoxOf(const tensorflow::TensorSlice& slice, const Dims& shape);

Dims DimsOf(const tensorflow::TensorShape& shape);
tensorflow::TensorShape ShapeOf(const Dims& dims);

}  // namespace autodist

#endif  // AUTODIST_FORMAT_VALUES_SHAPE_AND_SLICE_H_
