#include "core/boxes/box_index.h"

#include <algorithm>

namespace autodist {
namespace {

constexpr size_t kFanOut = 16;

}  // namespace

BoxIndex::BoxIndex(const std::vector<Box>* boxes) : boxes_(*boxes) {
  for (size_t i = 0; i < boxes_.size(); ++i) {
    if (boxes_[i].elements() > 0) order_.push_back(static_cast<int>(i));
  }
  if (order_.empty()) return;
  rank_ = boxes_[order_[0]].start.size();
  const auto comes_before = [this](int a, int b) {
    return boxes_[a].start != boxes_[b].start ? boxes_[a].start < boxes_[b].start : a < b;
  };
  if (!std::is_sorted(order_.begin(), order_.end(), comes_before)) {
    std::sort(order_.begin(), order_.end(), comes_before);
  }
  Level leaves;
  leaves.count = order_.size();
  leaves.bounds.reserve(2 * rank_ * leaves.count);
  for (int i : order_) {
    for (size_t axis = 0; axis < rank_; ++axis) {
      leaves.bounds.push_back(boxes_[i].start[axis]);
      leaves.bounds.push_back(boxes_[i].start[axis] + boxes_[i].extent[axis]);
    }
  }
  levels_.push_back(std::move(leaves));
  while (levels_.back().count > 1) {
    const Level& below = levels_.back();
    Level level;
    level.count = (below.count + kFanOut - 1) / kFanOut;
    level.bounds.reserve(2 * rank_ * level.count);
    for (size_t node = 0; node < level.count; ++node) {
      const size_t last = std::min(below.count, (node + 1) * kFanOut);
      for (size_t axis = 0; axis < rank_; ++axis) {
        int64_t start = INT64_MAX;
        int64_t end = 0;
        for (size_t child = node * kFanOut; child < last; ++child) {
          start = std::min(start, below.bounds[2 * (child * rank_ + axis)]);
          end = std::max(end, below.bounds[2 * (child * rank_ + axis) + 1]);
        }
        level.bounds.push_back(start);
        level.bounds.push_back(end);
      }
    }
    levels_.push_back(std::move(level));
  }
}

std::vector<int> BoxIndex::Find(const Box& box) const {
  std::vector<int> found;
  if (!levels_.empty() && box.elements() > 0) Collect(levels_.size() - 1, 0, box, &found);
  return found;
}

bool BoxIndex::Meets(const Level& level, size_t node, const Box& box) const {
  for (size_t axis = 0; axis < rank_; ++axis) {
    const int64_t* bounds = &level.bounds[2 * (node * rank_ + axis)];
    if (bounds[0] >= box.start[axis] + box.extent[axis] || bounds[1] <= box.start[axis]) {
      return false;
    }
  }
  return true;
}

void BoxIndex::Collect(size_t level, size_t node, const Box& box, std::vector<int>* found) const {
  if (!Meets(levels_[level], node, box)) return;
  if (level == 0) {
    found->push_back(order_[node]);
    return;
  }
  const size_t last = std::min(levels_[level - 1].count, (node + 1) * kFanOut);
  for (size_t child = node * kFanOut; child < last; ++child) Collect(level - 1, child, box, found);
}

}  // namespace autodist
