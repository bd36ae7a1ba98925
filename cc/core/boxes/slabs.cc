#include "core/boxes/slabs.h"

#include <algorithm>

namespace autodist {
namespace {

struct Span {
  int64_t begin;
  int64_t end;
  int box;
};

}  // namespace

std::vector<Slab> PlanSlabs(const Dims& shape, const std::vector<Box>& boxes) {
  Dims strides(shape.size());
  int64_t stride = 1;
  for (size_t axis = shape.size(); axis-- > 0;) {
    strides[axis] = stride;
    stride *= shape[axis];
  }
  std::vector<Span> spans;
  spans.reserve(boxes.size());
  for (size_t i = 0; i < boxes.size(); ++i) {
    if (boxes[i].elements() == 0) continue;
    Span span{0, 1, static_cast<int>(i)};
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      span.begin += boxes[i].start[axis] * strides[axis];
      span.end += (boxes[i].start[axis] + boxes[i].extent[axis] - 1) * strides[axis];
    }
    spans.push_back(span);
  }
  std::sort(spans.begin(), spans.end(),
            [](const Span& a, const Span& b) { return a.begin < b.begin; });

  std::vector<Slab> slabs;
  for (const Span& span : spans) {
    if (slabs.empty() || span.begin >= slabs.back().end) {
      slabs.push_back(Slab{span.begin, span.end, {}});
    }
    slabs.back().end = std::max(slabs.back().end, span.end);
    slabs.back().boxes.push_back(span.box);
  }
  return slabs;
}

}  // namespace autodist
