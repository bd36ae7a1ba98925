// Places tensors and their slabs (boxes/slabs.h) in a data file: one tensor after another, each
// whole and in row-major order.
//
//   tensor       a, 8 bytes    b, a stream of 5 bytes    c, two slabs of 6 and 2 bytes
//   in the file  [0, 8)        [8, 13)                   [13, 19) [19, 21)
//
// Every save lays its file out by this class: that of one task, that of a cluster, and the plans of
// autodist.planning.

#ifndef AUTODIST_CORE_PLANNING_FILE_LAYOUT_H_
#define AUTODIST_CORE_PLANNING_FILE_LAYOUT_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "core/boxes/box.h"
#include "core/boxes/slabs.h"

namespace autodist {

// Where a tensor lies in the file.
struct Extent {
  int64_t offset;
  int64_t size_bytes;
};

struct FileSlab {
  Slab slab;
  int64_t offset;  // of its first byte in the file
  int64_t size_bytes;
};

class FileLayout {
 public:
  // Appends a tensor and returns its slabs, ascending. They cover its extent. Returns nullopt, and
  // appends nothing, if elements have no bytes or the file would be too large for an offset.
  // REQUIRES: CheckTiling(shape, boxes) returns nullopt.
  std::optional<std::vector<FileSlab>> Add(const Dims& shape, int64_t element_bytes,
                                           const std::vector<Box>& boxes);

  // Appends a tensor whose elements vary in size. Encoded it has `size_bytes`.
  void AddStream(int64_t size_bytes);

  const std::vector<Extent>& extents() const { return extents_; }  // in the order of the calls
  int64_t size_bytes() const { return size_bytes_; }               // of the file

 private:
  std::vector<Extent> extents_;
  int64_t size_bytes_ = 0;
};

}  // namespace autodist

#endif  // AUTODIST_CORE_PLANNING_FILE_LAYOUT_H_
