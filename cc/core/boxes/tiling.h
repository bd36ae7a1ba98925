// Checks whether the shards of a variable make up all of it.
//
// Boxes tile a shape if every element lies in exactly one of them. If all boxes lie inside the
// shape and no two overlap, it is enough that their element counts add up to that of the shape.
//
// Overlaps are searched group by group. Sorted along an axis, boxes fall into groups whose
// intervals do not touch. Only boxes of one group can overlap. Each group is divided again along
// another axis. Shards that are cut along axes are separated after O(rank * n log n) steps.
// Example: a 1000 x 1000 grid gives 1000 groups along axis 0. Each of them gives 1000 groups of one
// box along axis 1. If a group cannot be divided (a pinwheel), each pair of its boxes is compared.

#ifndef AUTODIST_CORE_BOXES_TILING_H_
#define AUTODIST_CORE_BOXES_TILING_H_

#include <optional>
#include <string>
#include <vector>

#include "core/boxes/box.h"

namespace autodist {

// Returns what is wrong if `box` is of another rank than a tensor of `shape`, or does not lie in
// it. Else nullopt.
std::optional<std::string> CheckInside(const Dims& shape, const Box& box);

// Returns nullopt if `boxes` tile a tensor of `shape` exactly. Else returns the first problem
// found, with the boxes and the numbers: another rank, a box out of bounds, an overlap (both boxes
// and what they share), or a hole (a missing region). The text does not name the variable; the
// caller adds it. Boxes without elements are allowed anywhere inside the shape.
std::optional<std::string> CheckTiling(const Dims& shape, const std::vector<Box>& boxes);

// The same for boxes that need not make up all of the tensor: holes are allowed.
std::optional<std::string> CheckDisjoint(const Dims& shape, const std::vector<Box>& boxes);

}  // namespace autodist

#endif  // AUTODIST_CORE_BOXES_TILING_H_
