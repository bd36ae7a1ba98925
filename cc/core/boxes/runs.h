// Where the elements of a shard lie in the whole tensor, as contiguous runs.
//
// The shard holds its box densely in row-major order ("source"); the file holds the whole tensor in
// row-major order ("output"). Both orders agree along the innermost axes that the box covers fully,
// so those merge with the axis before them into one run. For shape [4, 10] and the box [1, 3) x [6,
// 10):
//
//   output 16..20  source 0..4
//   output 26..30  source 4..8
//
// and for the box [1, 3) x [0, 10), whose columns are complete, one run: output 10..30, source
// 0..20.
//
// The same holds for the elements that two boxes share, each dense in its own order. A stored slice
// is the output and a wanted shard the source, or the other way round.
//
// A caller that works on one block of the output at a time asks for the runs in that block; runs
// are clipped to it.

#ifndef AUTODIST_CORE_BOXES_RUNS_H_
#define AUTODIST_CORE_BOXES_RUNS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/boxes/box.h"

namespace autodist {

struct Run {
  int64_t output;  // first element in the whole tensor
  int64_t source;  // first element in the shard
  int64_t count;
};

// The runs of one part. Made once per shard; thread-safe to use concurrently.
class RunPlan {
 public:
  // The runs of a box that is dense in the source, within an output of `shape`.
  // REQUIRES: `box` lies in `shape`, and both have countable elements.
  RunPlan(const Dims& shape, const Box& box);

  // The runs of what two boxes of one tensor share, each of them dense in row-major order.
  // REQUIRES: both are of the same rank and have countable elements.
  static RunPlan OfShared(const Box& output, const Box& source);

  // The range of the output from the part's first element to past its last; empty for an empty
  // part.
  int64_t first_output() const { return base_; }
  int64_t end_output() const { return end_; }

  // How many elements the part has.
  int64_t elements() const {
    int64_t count = run_length_;
    for (const Axis& axis : axes_) count *= axis.extent;
    return count;
  }

  // The first run within the output range [begin, end), clipped to it; of length 0 if there is
  // none.
  Run FirstIn(int64_t begin, int64_t end) const;

  // Calls visit(Run) for the runs within the output range [begin, end), ascending. O(rank) plus
  // O(1) for each run visited; nothing before `begin` is stepped through.
  template <typename Visitor>
  void Visit(int64_t begin, int64_t end, Visitor&& visit) const;

 private:
  // An axis outside the run: `extent` steps, so many elements of the output and the source long.
  struct Axis {
    int64_t extent;
    int64_t stride;
    int64_t source_stride;
  };

  // A run: its index on each axis and its first elements.
  struct Cursor {
    Dims index;
    int64_t output;
    int64_t source;
  };

  RunPlan() = default;

  // A part of `extent` that begins at these elements, in tensors of these shapes.
  RunPlan(const Dims& shape, int64_t first_output, const Dims& source_shape, int64_t first_source,
          const Dims& extent);

  // The first run that ends after `output`, which lies in the part's range.
  Cursor Seek(int64_t output) const;

  // Steps to the next run; from the last one back to the first.
  void Advance(Cursor* cursor) const;

  std::vector<Axis> axes_;  // outermost first; strides fall
  int64_t run_length_ = 0;  // elements
  int64_t base_ = 0;
  int64_t source_base_ = 0;
  int64_t end_ = 0;
};

template <typename Visitor>
void RunPlan::Visit(int64_t begin, int64_t end, Visitor&& visit) const {
  begin = std::max(begin, base_);
  end = std::min(end, end_);
  if (begin >= end) return;
  Cursor cursor = Seek(begin);
  int64_t previous = -1;
  // From the last run it is back to the first.
  while (cursor.output > previous && cursor.output < end) {
    const int64_t first = std::max(cursor.output, begin);
    const int64_t last = std::min(cursor.output + run_length_, end);
    visit(Run{first, cursor.source + (first - cursor.output), last - first});
    previous = cursor.output;
    Advance(&cursor);
  }
}

inline Run RunPlan::FirstIn(int64_t begin, int64_t end) const {
  begin = std::max(begin, base_);
  end = std::min(end, end_);
  if (begin >= end) return Run{begin, 0, 0};
  const Cursor cursor = Seek(begin);
  const int64_t first = std::max(cursor.output, begin);
  const int64_t last = std::min(cursor.output + run_length_, end);
  return Run{first, cursor.source + (first - cursor.output), std::max<int64_t>(0, last - first)};
}

inline void RunPlan::Advance(Cursor* cursor) const {
  for (size_t axis = axes_.size(); axis-- > 0;) {
    const Axis& a = axes_[axis];
    cursor->output += a.stride;
    cursor->source += a.source_stride;
    if (++cursor->index[axis] < a.extent) return;
    cursor->output -= a.extent * a.stride;
    cursor->source -= a.extent * a.source_stride;
    cursor->index[axis] = 0;
  }
}

// The same for a caller with one question.
template <typename Visitor>
void VisitRuns(const Dims& shape, const Box& box, int64_t begin, int64_t end, Visitor&& visit) {
  RunPlan(shape, box).Visit(begin, end, visit);
}

}  // namespace autodist

#endif  // AUTODIST_CORE_BOXES_RUNS_H_
