// Shapes and slices as messages of the files, as keys of tables and as text.
//
//   text     "0,4:-"   the rows 0 to 3, all columns; "" for a scalar
//   message  TensorSliceProto: an extent an axis; one without a length is all of the axis
//   key      of a stored slice, made so that keys sort by name, then by place (OrderedCode):
//
//   0x00                          the number 0: the key of a slice, not of a variable
//   name, 0x00 0x01               with 0x00 in it as 0x00 0xff, and 0xff as 0xff 0x00
//   rank                          as an unsigned number: how many bytes it has, then the bytes
//   start, length of each axis    as signed numbers; all of an axis is 0 and -1
//
// A signed number of n bytes has n bits 1 and one bit 0 in front of its 7n - 1 bits and its sign,
// highest byte first; all of these bits are inverted for a negative one.

#ifndef AUTODIST_TABLES_BUNDLE_SLICE_H_
#define AUTODIST_TABLES_BUNDLE_SLICE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/boxes/box.h"
#include "tables/outcome.h"

namespace autodist {

struct SliceExtent {
  int64_t start;
  int64_t length;  // kAllOfAxis: all of it, and start is 0
};
inline constexpr int64_t kAllOfAxis = -1;

// TensorFlow's TensorShape::MaxDimensions().
inline constexpr size_t kMostDimensions = 254;

using Slice = std::vector<SliceExtent>;  // an extent for each axis

// Reads the size of a TensorShapeProto.Dim; false if the bytes are none.
bool ParseDim(std::string_view message, int64_t* size);

// Adds the dimensions of a TensorShapeProto to `shape`. Damaged if it is not one, or not the shape
// of a tensor: at most 254 dimensions, none negative, elements that int64 can count.
Outcome ParseShape(std::string_view message, Dims* shape);

// Damaged if the bytes are no TensorSliceProto, or one with a negative or too large extent.
Outcome ParseSlice(std::string_view message, Slice* slice);

std::string SliceText(const Slice& slice);

std::string SliceKey(std::string_view name, const Slice& slice);

// Where a slice lies in a tensor of `shape`; nullopt if it is of another rank or out of it.
std::optional<Box> BoxOfSlice(const Slice& slice, const Dims& shape);

}  // namespace autodist

#endif  // AUTODIST_TABLES_BUNDLE_SLICE_H_
