// Finds the boxes that meet another one, among many.
//
// Boxes are sorted by their first element and grouped by sixteen; groups are grouped by sixteen
// again, and so on. A search looks into a group only if the box around the group meets the wanted
// box. A grid of a thousand by a thousand shards has five levels, and a search takes a few dozen
// comparisons.

#ifndef AUTODIST_CORE_BOXES_BOX_INDEX_H_
#define AUTODIST_CORE_BOXES_BOX_INDEX_H_

#include <cstdint>
#include <vector>

#include "core/boxes/box.h"

namespace autodist {

class BoxIndex {
 public:
  // `boxes`, all of the same rank, must outlive the index. Those without elements are never found.
  explicit BoxIndex(const std::vector<Box>* boxes);

  // The numbers of the boxes that share an element with `box`, ascending by their first element.
  std::vector<int> Find(const Box& box) const;

 private:
  // Nodes, each over sixteen of the level below: for each node and axis where what is below it
  // starts and ends.
  struct Level {
    std::vector<int64_t> bounds;
    size_t count = 0;
  };

  bool Meets(const Level& level, size_t node, const Box& box) const;
  void Collect(size_t level, size_t node, const Box& box, std::vector<int>* found) const;

  const std::vector<Box>& boxes_;
  size_t rank_ = 0;
  std::vector<int> order_;     // of the boxes that have elements
  std::vector<Level> levels_;  // the first one is of single boxes
};

}  // namespace autodist

#endif  // AUTODIST_CORE_BOXES_BOX_INDEX_H_
