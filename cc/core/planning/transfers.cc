#include "core/planning/transfers.h"

#include <utility>

#include "core/boxes/box_index.h"
#include "core/boxes/tiling.h"

namespace autodist {
namespace {

// What of `box` is not stored, given the stored boxes that meet it.
std::string DescribeMissing(const Box& box, const std::vector<Box>& stored,
                            const std::vector<int>& meeting) {
  std::vector<Box> parts;
  for (int number : meeting) {
    Box part = *Intersect(stored[number], box);
    for (size_t axis = 0; axis < part.start.size(); ++axis) part.start[axis] -= box.start[axis];
    parts.push_back(std::move(part));
  }
  return "within the slice " + box.ToString() + ", stored " +
         CheckTiling(box.extent, parts).value_or("slices are missing");
}

}  // namespace

std::optional<std::string> PlanTransfers(const std::vector<Box>& stored,
                                         const std::vector<Box>& wanted, const TakeTransfer& take) {
  const BoxIndex boxes(&stored);
  for (size_t i = 0; i < wanted.size(); ++i) {
    const Box& box = wanted[i];
    const std::vector<int> meeting = boxes.Find(box);
    int64_t missing = box.elements();
    for (int number : meeting) missing -= SharedElements(stored[number], box);
    if (missing != 0) return DescribeMissing(box, stored, meeting);
    for (int number : meeting) {
      take(number, static_cast<int>(i), RunPlan::OfShared(stored[number], box));
    }
  }
  return std::nullopt;
}

}  // namespace autodist
