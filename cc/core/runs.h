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
// A caller that fills one block of the output at a time asks for the runs in that block; runs are
// clipped to it.

#ifndef AUTODIST_CORE_RUNS_H_
#define AUTODIST_CORE_RUNS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/box.h"

namespace autodist {

struct Run {
  int64_t output;  // first element in the whole tensor
  int64_t source;  // first element in the shard
  int64_t count;   // > 0
};

// The runs of one box. Made once per shard; thread-safe to use concurrently.
class RunPlan {
 public:
  // REQUIRES: `box` lies in `shape`, and both have countable elements.
  RunPlan(const Dims& shape, const Box& box);

  // The range of the output from the box's first element to past its last; empty for an empty box.
  int64_t first_output() const { return base_; }
  int64_t end_output() const { return end_; }

  // Calls visit(Run) for the runs within the output range [begin, end), ascending. O(rank) plus
  // O(1) for each run visited; nothing before `begin` is stepped through.
  template <typename Visitor>
  void Visit(int64_t begin, int64_t end, Visitor&& visit) const;

 private:
  // An axis outside the run: `extent` steps, each `stride` elements of the output long.
  struct Axis {
    int64_t extent;
    int64_t stride;
  };

  // The number of the first run that ends after `output`, which lies in the box's range, its index
  // on each axis and its first element in the output.
  int64_t Seek(int64_t output, Dims* index, int64_t* run_output) const;

  // Steps to the next run; from the last one back to the first.
  void Advance(Dims* index, int64_t* run_output) const;

  std::vector<Axis> axes_;  // outermost first; strides fall
  int64_t run_length_ = 0;  // elements
  int64_t run_count_ = 0;
  int64_t base_ = 0;
  int64_t end_ = 0;
};

template <typename Visitor>
void RunPlan::Visit(int64_t begin, int64_t end, Visitor&& visit) const {
  begin = std::max(begin, base_);
  end = std::min(end, end_);
  if (begin >= end) return;
  Dims index;
  int64_t output = 0;
  int64_t run = Seek(begin, &index, &output);
  while (run < run_count_ && output < end) {
    const int64_t first = std::max(output, begin);
    const int64_t last = std::min(output + run_length_, end);
    visit(Run{first, run * run_length_ + (first - output), last - first});
    ++run;
    Advance(&index, &output);
  }
}

inline void RunPlan::Advance(Dims* index, int64_t* run_output) const {
  for (size_t axis = axes_.size(); axis-- > 0;) {
    *run_output += axes_[axis].stride;
    if (++(*index)[axis] < axes_[axis].extent) return;
    *run_output -= axes_[axis].extent * axes_[axis].stride;
    (*index)[axis] = 0;
  }
}

// The same for a caller with one question.
template <typename Visitor>
void VisitRuns(const Dims& shape, const Box& box, int64_t begin, int64_t end, Visitor&& visit) {
  RunPlan(shape, box).Visit(begin, end, visit);
}

}  // namespace autodist

#endif  // AUTODIST_CORE_RUNS_H_
