#include "core/boxes/row_major_range.h"

namespace autodist {
namespace {

// Appends boxes of the elements [begin, end) of one sub-tensor of `shape`. The sub-tensor has the
// axes from `axis` on; `at` has the indices on the axes before. `begin` and `end` count within it.
void Append(const Dims& shape, size_t axis, int64_t begin, int64_t end, Dims* at,
            std::vector<Box>* boxes) {
  if (begin >= end) return;
  int64_t stride = 1;
  for (size_t inner = axis + 1; inner < shape.size(); ++inner) stride *= shape[inner];
  const auto add = [&](int64_t first, int64_t count) {
    Box box{*at, Dims(shape.size(), 1)};
    for (size_t inner = axis; inner < shape.size(); ++inner) {
      box.start[inner] = 0;
      box.extent[inner] = shape[inner];
    }
    if (axis < shape.size()) {
      box.start[axis] = first;
      box.extent[axis] = count;
    }
    boxes->push_back(std::move(box));
  };
  if (axis == shape.size()) return add(0, 1);
  const auto add_part = [&](int64_t index, int64_t from, int64_t to) {
    (*at)[axis] = index;
    Append(shape, axis + 1, from, to, at, boxes);
    (*at)[axis] = 0;
  };
  const int64_t first = begin / stride;
  const int64_t last = end / stride;
  if (first == last) return add_part(first, begin % stride, end % stride);
  const int64_t whole = begin % stride == 0 ? first : first + 1;
  if (whole != first) add_part(first, begin % stride, stride);
  if (whole < last) add(whole, last - whole);
  if (end % stride != 0) add_part(last, 0, end % stride);
}

}  // namespace

std::vector<Box> BoxesOfRange(const Dims& shape, int64_t begin, int64_t end) {
  std::vector<Box> boxes;
  Dims at(shape.size(), 0);
  Append(shape, 0, begin, end, &at, &boxes);
  return boxes;
}

}  // namespace autodist
