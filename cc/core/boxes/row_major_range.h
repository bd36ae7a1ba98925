// A range of elements in row-major order, as boxes.
//
// Of a tensor of shape [4, 10] the elements [16, 34) are the end of row 1, row 2, and the beginning
// of row 3:
//
//   [1, 2) x [6, 10)    [2, 3) x [0, 10)    [3, 4) x [0, 4)

#ifndef AUTODIST_CORE_BOXES_ROW_MAJOR_RANGE_H_
#define AUTODIST_CORE_BOXES_ROW_MAJOR_RANGE_H_

#include <cstdint>
#include <vector>

#include "core/boxes/box.h"

namespace autodist {

// Boxes that tile the elements [begin, end), ascending; at most two for each axis.
// REQUIRES: 0 <= begin <= end <= elements of `shape`, which can be counted.
std::vector<Box> BoxesOfRange(const Dims& shape, int64_t begin, int64_t end);

}  // namespace autodist

#endif  // AUTODIST_CORE_BOXES_ROW_MAJOR_RANGE_H_
