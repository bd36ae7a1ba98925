// Shapes and layouts found at random, and where their elements lie, one by one.

#ifndef AUTODIST_CORE_TESTING_TESTING_BOXES_H_
#define AUTODIST_CORE_TESTING_TESTING_BOXES_H_

#include <cstdint>
#include <random>
#include <vector>

#include "core/boxes/box.h"

namespace autodist::testing {

// A layout found by cutting: a random tiling of `shape`. Every so often a box is empty.
inline std::vector<Box> RandomTiling(const Dims& shape, std::mt19937* random) {
  std::vector<Box> boxes = {Box::Whole(shape)};
  if (shape.empty()) return boxes;
  const int cuts = static_cast<int>((*random)() % 6);
  for (int i = 0; i < cuts; ++i) {
    const size_t chosen = (*random)() % boxes.size();
    const size_t axis = (*random)() % shape.size();
    Box first = boxes[chosen];
    Box second = first;
    const int64_t at = static_cast<int64_t>((*random)() % (first.extent[axis] + 1));
    first.extent[axis] = at;
    second.start[axis] += at;
    second.extent[axis] -= at;
    boxes[chosen] = first;
    boxes.push_back(second);
  }
  return boxes;
}

// Rank 0 to 4, dimensions of 0, 1, primes and others.
inline Dims RandomShape(std::mt19937* random) {
  static constexpr int64_t kSizes[] = {1, 2, 3, 4, 5, 6, 7, 11, 0};
  Dims shape((*random)() % 5);
  for (int64_t& size : shape) {
    // Zero is rarer, else most tensors would be empty.
    size = kSizes[(*random)() % ((*random)() % 4 == 0 ? 9 : 8)];
  }
  return shape;
}

// The index of each element of `box` in the whole tensor of `shape`, one by one.
inline std::vector<int64_t> FlatIndices(const Dims& shape, const Box& box) {
  std::vector<int64_t> indices;
  Dims at(shape.size(), 0);
  for (int64_t n = 0; n < box.elements(); ++n) {
    int64_t flat = 0;
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      flat = flat * shape[axis] + box.start[axis] + at[axis];
    }
    indices.push_back(flat);
    for (size_t axis = shape.size(); axis-- > 0;) {
      if (++at[axis] < box.extent[axis]) break;
      at[axis] = 0;
    }
  }
  return indices;
}

}  // namespace autodist::testing

#endif  // AUTODIST_CORE_TESTING_TESTING_BOXES_H_
