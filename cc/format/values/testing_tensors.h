// Tensors of random values for tests, and parts of them.

#ifndef AUTODIST_FORMAT_VALUES_TESTING_TENSORS_H_
#define AUTODIST_FORMAT_VALUES_TESTING_TENSORS_H_

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/boxes/box.h"
#include "core/testing/testing_boxes.h"
#include "format/values/element_type.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/tensor_slice.h"

namespace autodist::testing {

inline char* BytesOf(const tensorflow::Tensor& tensor) {
  return const_cast<char*>(tensor.tensor_data().data());
}

inline tensorflow::Tensor RandomTensor(tensorflow::DataType dtype, const Dims& shape,
                                       std::mt19937* random) {
  tensorflow::Tensor tensor(dtype, tensorflow::TensorShape(shape));
  if (dtype == tensorflow::DT_STRING) {
    auto flat = tensor.flat<tensorflow::tstring>();
    for (int64_t i = 0; i < flat.size(); ++i) flat(i) = std::string((*random)() % 40, 'a' + i % 26);
    return tensor;
  }
  const bool is_bool = dtype == tensorflow::DT_BOOL;
  for (size_t i = 0; i < tensor.tensor_data().size(); ++i) {
    BytesOf(tensor)[i] = static_cast<char>(is_bool ? (*random)() % 2 : (*random)() >> 7);
  }
  return tensor;
}

// The elements of `whole` that lie in `box`.
inline tensorflow::Tensor Cut(const tensorflow::Tensor& whole, const Dims& shape, const Box& box) {
  tensorflow::Tensor part(whole.dtype(), tensorflow::TensorShape(box.extent));
  const std::vector<int64_t> indices = FlatIndices(shape, box);
  if (whole.dtype() == tensorflow::DT_STRING) {
    for (size_t i = 0; i < indices.size(); ++i) {
      part.flat<tensorflow::tstring>()(i) = whole.flat<tensorflow::tstring>()(indices[i]);
    }
    return part;
  }
  const int64_t size = SavedElementBytes(whole.dtype());
  for (size_t i = 0; i < indices.size(); ++i) {
    std::memcpy(BytesOf(part) + i * size, whole.tensor_data().data() + indices[i] * size, size);
  }
  return part;
}

inline bool AreEqual(const tensorflow::Tensor& a, const tensorflow::Tensor& b) {
  if (a.dtype() != b.dtype() || a.shape() != b.shape()) return false;
  if (a.dtype() != tensorflow::DT_STRING) return a.tensor_data() == b.tensor_data();
  for (int64_t i = 0; i < a.NumElements(); ++i) {
    if (a.flat<tensorflow::tstring>()(i) != b.flat<tensorflow::tstring>()(i)) return false;
  }
  return true;
}

// Boxes of a matrix in `rows` times `columns` parts.
inline std::vector<Box> Grid(const Dims& shape, int64_t rows, int64_t columns) {
  std::vector<Box> boxes;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      const int64_t top = shape[0] * row / rows;
      const int64_t left = shape[1] * column / columns;
      boxes.push_back(
          Box{{top, left},
              {shape[0] * (row + 1) / rows - top, shape[1] * (column + 1) / columns - left}});
    }
  }
  return boxes;
}

// A box of no length has no spelling as a slice.
inline std::vector<Box> WithoutEmpty(const Dims& shape, std::vector<Box> boxes) {
  if (Box::Whole(shape).elements() == 0) return {Box::Whole(shape)};
  std::vector<Box> kept;
  for (Box& box : boxes) {
    if (box.elements() > 0) kept.push_back(std::move(box));
  }
  return kept;
}

inline tensorflow::TensorSlice SliceOfBox(const Dims& shape, const Box& box) {
  tensorflow::TensorSlice slice(box.rank());
  for (int axis = 0; axis < box.rank(); ++axis) {
    if (box.extent[axis] == shape[axis]) continue;
    slice.set_start(axis, box.start[axis]);
    slice.set_length(axis, box.extent[axis]);
  }
  return slice;
}

// As RestoreV2 spells a box; "" for all of a tensor.
inline std::string SliceSpec(const Dims& shape, const Box& box) {
  if (shape.empty() || box == Box::Whole(shape)) return "";
  return absl::StrCat(absl::StrJoin(shape, " "), " ", SliceOfBox(shape, box).DebugString());
}

}  // namespace autodist::testing

#endif  // AUTODIST_FORMAT_VALUES_TESTING_TENSORS_H_
