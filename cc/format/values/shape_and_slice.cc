// The place of a slice in its variable, as `shape_and_slices` of SaveV2 and RestoreV2 spell it. The
// header has the format.

#include "format/values/shape_and_slice.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace autodist {

// Not by TensorFlow's function of this name, which aborts the process on a negative dimension and
// on one too large to count.
absl::StatusOr<Place> ParseShapeAndSlice(absl::string_view text) {
  const auto refuse = [text](absl::string_view a, absl::string_view b = "",
                             absl::string_view c = "") {
    return absl::InvalidArgumentError(
        absl::StrCat("shape and slice '", absl::CHexEscape(text), "' ", a, absl::CHexEscape(b), c));
  };
  Place place;
  std::vector<absl::string_view> words = absl::StrSplit(text, ' ');
  if (words.size() < 2) return refuse("must be dimensions followed by a slice");
  const absl::Status parsed =
      tensorflow::TensorSlice::Parse(std::string(words.back()), &place.slice);
  if (!parsed.ok()) return refuse("has a bad slice: ", parsed.message());
  words.pop_back();
  for (absl::string_view word : words) {
    int64_t dim;
    if (!absl::SimpleAtoi(word, &dim) || dim < 0) return refuse("has a bad dimension '", word, "'");
    place.shape.push_back(dim);
  }
  if (!CheckedElements(place.shape).has_value()) return refuse("has too many elements");
  absl::StatusOr<Box> box = BoxOf(place.slice, place.shape);
  if (!box.ok()) return refuse(box.status().message());
  place.box = *std::move(box);
  return place;
}

absl::StatusOr<Box> BoxOf(const tensorflow::TensorSlice& slice, const Dims& shape) {
  if (slice.dims() != static_cast<int>(shape.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", shape.size(), " dimensions but a slice of ", slice.dims()));
  }
  Box box;
  box.start.reserve(shape.size());
  box.extent.reserve(shape.size());
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    const int64_t dim = shape[axis];
    const bool is_full = slice.IsFullAt(axis);
    const int64_t start = is_full ? 0 : slice.start(axis);
    const int64_t length = is_full ? dim : slice.length(axis);
    if (start < 0 || length < 0 || start > dim || length > dim - start) {
      return absl::InvalidArgumentError(
          absl::StrCat("takes ", length, " from ", start, " along axis ", axis,
                       ", out of the full shape ", DimsToString(shape)));
    }
    box.start.push_back(start);
    box.extent.push_back(length);
  }
  return box;
}

Dims DimsOf(const tensorflow::TensorShape& shape) {
  Dims dims;
  for (int axis = 0; axis < shape.dims(); ++axis) dims.push_back(shape.dim_size(axis));
  return dims;
}

tensorflow::TensorShape ShapeOf(const Dims& dims) {
  tensorflow::TensorShape shape;
  for (int64_t dim : dims) shape.AddDim(dim);
  return shape;
}

}  // namespace autodist
