// Plans as arrays of NumPy, and back.

#ifndef AUTODIST_PYTHON_PLANNED_ARRAYS_H_
#define AUTODIST_PYTHON_PLANNED_ARRAYS_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/boxes/box.h"

namespace autodist {

using Integers = pybind11::array_t<int64_t, pybind11::array::c_style | pybind11::array::forcecast>;

// `values` as an array; it takes over the memory.
template <typename T>
pybind11::array_t<T> ToArray(std::vector<T> values) {
  auto* const owned = new std::vector<T>(std::move(values));
  const pybind11::capsule owner(owned,
                                [](void* vector) { delete static_cast<std::vector<T>*>(vector); });
  return pybind11::array_t<T>(static_cast<pybind11::ssize_t>(owned->size()), owned->data(), owner);
}

// What `get` finds in each of `items`.
template <typename T, typename Item, typename Get>
pybind11::array_t<T> Column(const std::vector<Item>& items, const Get& get) {
  pybind11::array_t<T> column(static_cast<pybind11::ssize_t>(items.size()));
  T* const out = column.mutable_data();
  for (size_t i = 0; i < items.size(); ++i) out[i] = static_cast<T>(get(items[i]));
  return column;
}

// The rows of `starts` and `extents`, each of shape [boxes, rank].
inline std::vector<Box> BoxesOf(const Integers& starts, const Integers& extents) {
  const pybind11::ssize_t rank = starts.shape(1);
  std::vector<Box> boxes;
  boxes.reserve(starts.shape(0));
  for (pybind11::ssize_t i = 0; i < starts.shape(0); ++i) {
    const int64_t* const start = starts.data() + i * rank;
    const int64_t* const extent = extents.data() + i * rank;
    boxes.push_back(Box{Dims(start, start + rank), Dims(extent, extent + rank)});
  }
  return boxes;
}

// Throws ValueError with the problem, if there is one.
inline void CheckPlan(const std::optional<std::string>& problem) {
  if (problem.has_value()) throw pybind11::value_error(*problem);
}

}  // namespace autodist

#endif  // AUTODIST_PYTHON_PLANNED_ARRAYS_H_
