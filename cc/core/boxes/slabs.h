// Which shards have to be read together, because their bytes interleave in the file.
//
// The file holds the whole tensor in row-major order. A box covers a range of it: from its first
// element to its last. If ranges overlap, the bytes of their boxes interleave in the file, and the
// boxes belong to one slab. So no box crosses the end of a slab. Example, for a tensor of shape [4,
// 10]:
//
//   cut along the rows at 1    boxes [0, 1) x [0, 10) and [1, 4) x [0, 10)
//                              slabs {0..10: first} and {10..40: second}
//   cut along the columns at 6 boxes [0, 4) x [0, 6) and [0, 4) x [6, 10)
//                              one slab {0..40: both}
//   cut along both             two slabs of two boxes each
//
// Everything within a slab is read under the locks of all its boxes; nothing is held between slabs.

#ifndef AUTODIST_CORE_BOXES_SLABS_H_
#define AUTODIST_CORE_BOXES_SLABS_H_

#include <cstdint>
#include <vector>

#include "core/boxes/box.h"

namespace autodist {

struct Slab {
  int64_t begin;  // in elements of the whole tensor, row-major, half-open
  int64_t end;
  std::vector<int> boxes;  // indices into the list given to PlanSlabs, ascending by first element
};

// The slabs of `shape` in ascending order. They partition [0, elements of shape); boxes without
// elements are in none, and a tensor without elements has no slabs. O(n log n) in the number of
// boxes.
//
// REQUIRES: CheckTiling(shape, boxes) returns nullopt.
std::vector<Slab> PlanSlabs(const Dims& shape, const std::vector<Box>& boxes);

}  // namespace autodist

#endif  // AUTODIST_CORE_BOXES_SLABS_H_
