// Finds which elements of a tensor's stored boxes go into which of its wanted boxes.
//
//   stored               wanted
//   0: rows [0, 6)  ---> 0: rows [0, 4)
//                   `--> 1: rows [4, 8)
//   1: rows [6, 12) ---'
//                   `--> 2: rows [8, 12)

#ifndef AUTODIST_CORE_PLANNING_TRANSFERS_H_
#define AUTODIST_CORE_PLANNING_TRANSFERS_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/boxes/box.h"
#include "core/boxes/runs.h"

namespace autodist {

// Takes the numbers of a stored and of a wanted box, and the runs that they share. In `runs` the
// "output" is the stored box, and the "source" is the wanted one.
using TakeTransfer = std::function<void(int stored, int wanted, RunPlan runs)>;

// Calls `take` for each pair that shares elements: the wanted boxes in order, and for each the
// stored boxes ascending by their first element. If a part of a wanted box is not stored, returns a
// text that says which, and calls `take` no more. Takes O(log n) time for each pair and each wanted
// box. REQUIRES: all boxes are of one rank and lie in the tensor, and the stored ones do not
// overlap.
std::optional<std::string> PlanTransfers(const std::vector<Box>& stored,
                                         const std::vector<Box>& wanted, const TakeTransfer& take);

}  // namespace autodist

#endif  // AUTODIST_CORE_PLANNING_TRANSFERS_H_
