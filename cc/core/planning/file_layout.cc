// Where tensors and their slabs lie in a data file: one tensor after another, each whole and in
// row-major order. The header tells how.

#include "core/planning/file_layout.h"

#include <utility>

namespace autodist {

std::optional<std::vector<FileSlab>> FileLayout::Add(const Dims& shape, int64_t element_bytes,
                                                     const std::vector<Box>& boxes) {
  const int64_t offset = size_bytes_;
  int64_t size_bytes, end;
  if (element_bytes <= 0 ||
      __builtin_mul_overflow(*CheckedElements(shape), element_bytes, &size_bytes) ||
      __builtin_add_overflow(offset, size_bytes, &end)) {
    return std::nullopt;
  }
  AddStream(size_bytes);
  std::vector<FileSlab> slabs;
  for (Slab& slab : PlanSlabs(shape, boxes)) {
    const int64_t begin = offset + slab.begin * element_bytes;
    const int64_t slab_bytes = (slab.end - slab.begin) * element_bytes;
    slabs.push_back({std::move(slab), begin, slab_bytes});
  }
  return slabs;
}

void FileLayout::AddStream(int64_t size_bytes) {
  extents_.push_back({size_bytes_, size_bytes});
  size_bytes_ += size_bytes;
}

}  // namespace autodist
