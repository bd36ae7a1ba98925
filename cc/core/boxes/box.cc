#include "core/boxes/box.h"

#include <algorithm>
#include <sstream>

namespace autodist {

std::optional<int64_t> CheckedElements(const Dims& dims) {
  bool has_zero = false;
  for (int64_t dim : dims) {
    if (dim < 0) return std::nullopt;
    has_zero = has_zero || dim == 0;
  }
  if (has_zero) return 0;
  int64_t product = 1;
  for (int64_t dim : dims) {
    if (__builtin_mul_overflow(product, dim, &product)) return std::nullopt;
  }
  return product;
}

std::string DimsToString(const Dims& dims) {
  std::ostringstream text;
  text << '[';
  for (size_t i = 0; i < dims.size(); ++i) text << (i > 0 ? ", " : "") << dims[i];
  text << ']';
  return text.str();
}

Box Box::Whole(const Dims& shape) { return Box{Dims(shape.size(), 0), shape}; }

int64_t Box::elements() const { return CheckedElements(extent).value(); }

std::string Box::ToString() const {
  if (extent.empty()) return "scalar";
  std::ostringstream text;
  for (size_t i = 0; i < extent.size(); ++i) {
    text << (i > 0 ? " x " : "") << '[' << start[i] << ", " << start[i] + extent[i] << ')';
  }
  return text.str();
}

std::optional<Box> Intersect(const Box& a, const Box& b) {
  Box shared = a;
  for (int axis = 0; axis < a.rank(); ++axis) {
    shared.start[axis] = std::max(a.start[axis], b.start[axis]);
    shared.extent[axis] = std::min(a.start[axis] + a.extent[axis], b.start[axis] + b.extent[axis]) -
                          shared.start[axis];
    if (shared.extent[axis] <= 0) return std::nullopt;
  }
  return shared;
}

int64_t SharedElements(const Box& a, const Box& b) {
  int64_t elements = 1;
  for (int axis = 0; axis < a.rank(); ++axis) {
    const int64_t start = std::max(a.start[axis], b.start[axis]);
    const int64_t end = std::min(a.start[axis] + a.extent[axis], b.start[axis] + b.extent[axis]);
    if (end <= start) return 0;
    elements *= end - start;
  }
  return elements;
}

}  // namespace autodist
