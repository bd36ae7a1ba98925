// Whether the shards of a variable make up all of it, and if not, what is wrong.
//
// Boxes tile a shape when every element lies in exactly one of them. Given that each box lies inside and
// that no two overlap, this is so exactly when the element counts add up.
//
// Overlaps are found by a sweep along the axis with the most distinct starts: boxes are taken in the
// order of their starts there, and each is compared with those that have not ended. Shards cut along one
// axis, the usual case, cost O(n log n).

#ifndef AUTODIST_CORE_TILING_H_
#define AUTODIST_CORE_TILING_H_

#include <optional>
#include <string>
#include <vector>

#include "core/box.h"

namespace autodist {

// nullopt when `boxes` tile a tensor of `shape` exactly. Else what is wrong with the first thing found
// wrong, with the boxes and the numbers: another rank, out of bounds, an overlap (both boxes and
// what they share), a hole (the region missing). The text names no variable; the caller knows which.
// Boxes without elements tile nothing and are allowed anywhere inside the shape.
std::optional<std::string> CheckTiling(const Dims& shape, const std::vector<Box>& boxes);

}  // namespace autodist

#endif  // AUTODIST_CORE_TILING_H_
