// A box: the part of a tensor that a shard holds.
//
// A tensor of shape [4, 10] cut into two along its columns at 6 has the boxes
//
//   {start: {0, 0}, extent: {4, 6}}   printed [0, 4) x [0, 6)
//   {start: {0, 6}, extent: {4, 4}}   printed [0, 4) x [6, 10)
//
// A scalar has rank 0 and one element; a box with an extent of 0 has none.

#ifndef AUTODIST_CORE_BOXES_BOX_H_
#define AUTODIST_CORE_BOXES_BOX_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace autodist {

using Dims = std::vector<int64_t>;

// The product of `dims`, or nullopt when one is negative or the product exceeds int64. A dimension
// of 0 makes the product 0 however large the others are.
std::optional<int64_t> CheckedElements(const Dims& dims);

// `dims` as [2, 3].
std::string DimsToString(const Dims& dims);

struct Box {
  Dims start;   // first index of each dimension
  Dims extent;  // length of each dimension; as many as in `start`

  // The box that is all of a tensor.
  static Box Whole(const Dims& shape);

  int rank() const { return static_cast<int>(extent.size()); }

  // REQUIRES: CheckedElements(extent) has a value, which is what is returned.
  int64_t elements() const;

  // Half-open ranges: `[0, 4) x [2, 8)`; `scalar` for rank 0.
  std::string ToString() const;

  friend bool operator==(const Box& a, const Box& b) {
    return a.start == b.start && a.extent == b.extent;
  }
  friend bool operator!=(const Box& a, const Box& b) { return !(a == b); }
};

// The elements that two boxes of one tensor share; nullopt if there are none.
// REQUIRES: they are of the same rank.
std::optional<Box> Intersect(const Box& a, const Box& b);

// How many elements that is.
// REQUIRES: they are of the same rank, and elements() of them may be called.
int64_t SharedElements(const Box& a, const Box& b);

}  // namespace autodist

#endif  // AUTODIST_CORE_BOXES_BOX_H_
