#include "core/boxes/tiling.h"

#include <algorithm>
#include <numeric>
#include <sstream>
#include <utility>

namespace autodist {
namespace {

using Boxes = std::vector<const Box*>;

// Groups nested deeper than this are swept pairwise.
constexpr int kMaxDepth = 64;
// Intervals listed in a message.
constexpr size_t kMaxListed = 6;

int64_t End(const Box& box, int axis) { return box.start[axis] + box.extent[axis]; }

// Some boxes of a list, in place.
struct Range {
  const Box** first;
  const Box** last;
  size_t size() const { return last - first; }
};

void SortAlong(int axis, Range boxes) {
  const auto comes_before = [axis](const Box* a, const Box* b) {
    return a->start[axis] < b->start[axis];
  };
  if (std::is_sorted(boxes.first, boxes.last, comes_before)) return;
  std::sort(boxes.first, boxes.last, comes_before);
}

// The end of the first group of boxes sorted along `axis`: no box of it reaches past the start of
// what follows.
const Box** EndOfGroup(Range boxes, int axis) {
  int64_t end = 0;
  const Box** box = boxes.first;
  for (; box != boxes.last && (box == boxes.first || (*box)->start[axis] < end); ++box) {
    end = std::max(end, End(**box, axis));
  }
  return box;
}

using Pair = std::pair<const Box*, const Box*>;

// Sweeps along `axis`, comparing each box with those that have not ended.
std::optional<Pair> SweepForOverlap(Range boxes, int axis) {
  SortAlong(axis, boxes);
  Boxes open;
  for (const Box** at = boxes.first; at != boxes.last; ++at) {
    const Box* box = *at;
    open.erase(std::remove_if(open.begin(), open.end(),
                              [&](const Box* o) { return End(*o, axis) <= box->start[axis]; }),
               open.end());
    for (const Box* other : open) {
      if (Intersect(*other, *box)) return Pair{other, box};
    }
    open.push_back(box);
  }
  return std::nullopt;
}

std::optional<Pair> FindOverlap(Range boxes, int depth) {
  if (boxes.size() < 2) return std::nullopt;
  const Box& first = **boxes.first;
  if (first.rank() == 0) return Pair{boxes.first[0], boxes.first[1]};
  int best_axis = 0;
  size_t best_starts = 0;
  for (int axis = 0; axis < first.rank(); ++axis) {
    SortAlong(axis, boxes);
    const Box** end = EndOfGroup(boxes, axis);
    if (end != boxes.last && depth < kMaxDepth) {
      for (const Box** begin = boxes.first; begin != boxes.last; begin = end) {
        end = EndOfGroup({begin, boxes.last}, axis);
        if (auto overlap = FindOverlap({begin, end}, depth + 1)) return overlap;
      }
      return std::nullopt;
    }
    size_t starts = 1;
    for (const Box** box = boxes.first + 1; box < boxes.last; ++box) {
      starts += box[0]->start[axis] != box[-1]->start[axis];
    }
    if (starts > best_starts) {
      best_starts = starts;
      best_axis = axis;
    }
  }
  return SweepForOverlap(boxes, best_axis);
}

int64_t TotalElements(const std::vector<Box>& boxes) {
  return std::accumulate(boxes.begin(), boxes.end(), int64_t{0},
                         [](int64_t sum, const Box& box) { return sum + box.elements(); });
}

// A box without any element of `boxes`, which lie in `region`, do not overlap and do not fill it.
Box FindHole(Box region, std::vector<Box> boxes) {
  while (!boxes.empty()) {
    // Cut the region at an edge of a box that lies inside it, and go on in a part that is not full.
    // In a list in some order, a box from the middle halves the region.
    bool was_cut = false;
    for (size_t step = 0; step < boxes.size() && !was_cut; ++step) {
      const size_t i = (boxes.size() / 2 + step) % boxes.size();
      for (int axis = 0; axis < region.rank() && !was_cut; ++axis) {
        for (int64_t at : {boxes[i].start[axis], End(boxes[i], axis)}) {
          if (at <= region.start[axis] || at >= End(region, axis)) continue;
          Box parts[2] = {region, region};
          parts[0].extent[axis] = at - region.start[axis];
          parts[1].start[axis] = at;
          parts[1].extent[axis] = End(region, axis) - at;
          for (const Box& part : parts) {
            std::vector<Box> inside;
            for (const Box& box : boxes) {
              if (auto shared = Intersect(box, part)) inside.push_back(*std::move(shared));
            }
            if (TotalElements(inside) == part.elements()) continue;
            region = part;
            boxes = std::move(inside);
            was_cut = true;
            break;
          }
          break;
        }
      }
    }
  }
  return region;
}

// The axis along which alone `boxes` are cut, if there is one.
std::optional<int> OnlyCutAxis(const Dims& shape, const Boxes& boxes) {
  std::optional<int> cut;
  for (int axis = 0; axis < static_cast<int>(shape.size()); ++axis) {
    const bool is_whole = std::all_of(boxes.begin(), boxes.end(), [&](const Box* box) {
      return box->extent[axis] == shape[axis];
    });
    if (is_whole) continue;
    if (cut) return std::nullopt;
    cut = axis;
  }
  return cut;
}

using Interval = std::pair<int64_t, int64_t>;

std::string ListIntervals(const std::vector<Interval>& intervals) {
  std::ostringstream text;
  for (size_t i = 0; i < intervals.size(); ++i) {
    if (i == kMaxListed) {
      text << " and " << intervals.size() - i << " more";
      break;
    }
    if (i > 0) text << (i + 1 == intervals.size() ? " and " : ", ");
    text << '[' << intervals[i].first << ", " << intervals[i].second << ')';
  }
  return text.str();
}

std::string DescribeHoleAlong(int axis, int64_t length, Boxes boxes) {
  SortAlong(axis, {boxes.data(), boxes.data() + boxes.size()});
  std::vector<Interval> covered;
  std::vector<Interval> missing;
  int64_t end = 0;
  for (const Box* box : boxes) {
    if (box->start[axis] > end) missing.emplace_back(end, box->start[axis]);
    if (covered.empty() || box->start[axis] > end) {
      covered.emplace_back(box->start[axis], End(*box, axis));
    }
    covered.back().second = End(*box, axis);
    end = covered.back().second;
  }
  if (end < length) missing.emplace_back(end, length);
  const std::string unit = axis == 0 ? "rows " : "indices ";
  std::ostringstream text;
  text << "shards cover " << unit << ListIntervals(covered) << " of " << length;
  if (axis > 0) text << " along axis " << axis;
  text << "; " << unit << ListIntervals(missing) << " are missing";
  return text.str();
}

std::string DescribeHole(const Dims& shape, const Boxes& boxes, int64_t covered, int64_t elements) {
  if (boxes.empty()) {
    return "no shard covers any element of the full shape " + DimsToString(shape);
  }
  if (std::optional<int> axis = OnlyCutAxis(shape, boxes)) {
    return DescribeHoleAlong(*axis, shape[*axis], boxes);
  }
  std::vector<Box> copies;
  for (const Box* box : boxes) copies.push_back(*box);
  std::ostringstream text;
  text << "shards cover " << covered << " of " << elements << " elements of the full shape "
       << DimsToString(shape) << "; " << FindHole(Box::Whole(shape), std::move(copies)).ToString()
       << " is missing";
  return text.str();
}

}  // namespace

std::optional<std::string> CheckInside(const Dims& shape, const Box& box) {
  if (box.start.size() != shape.size() || box.extent.size() != shape.size()) {
    std::ostringstream text;
    text << "a shard has starts " << DimsToString(box.start) << " and extents "
         << DimsToString(box.extent) << ", but the full shape " << DimsToString(shape)
         << " has rank " << shape.size();
    return text.str();
  }
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    if (box.start[axis] >= 0 && box.extent[axis] >= 0 && box.start[axis] <= shape[axis] &&
        box.extent[axis] <= shape[axis] - box.start[axis]) {
      continue;
    }
    std::ostringstream text;
    text << "a shard starts at " << DimsToString(box.start) << " with extents "
         << DimsToString(box.extent) << " and does not fit the full shape " << DimsToString(shape)
         << ": along axis " << axis << " it starts at " << box.start[axis] << " and is "
         << box.extent[axis] << " long, of " << shape[axis];
    return text.str();
  }
  return std::nullopt;
}

std::optional<std::string> CheckDisjoint(const Dims& shape, const std::vector<Box>& boxes) {
  if (!CheckedElements(shape)) {
    return "the full shape " + DimsToString(shape) + " is negative or has too many elements";
  }
  Boxes filled;
  filled.reserve(boxes.size());
  for (const Box& box : boxes) {
    if (auto error = CheckInside(shape, box)) return error;
    if (box.elements() > 0) filled.push_back(&box);
  }
  const Range all{filled.data(), filled.data() + filled.size()};
  if (std::optional<Pair> overlap = FindOverlap(all, 0)) {
    const auto& [a, b] = *overlap;
    return "shards " + a->ToString() + " and " + b->ToString() + " overlap in " +
           Intersect(*a, *b)->ToString() + " of the full shape " + DimsToString(shape);
  }
  return std::nullopt;
}

std::optional<std::string> CheckTiling(const Dims& shape, const std::vector<Box>& boxes) {
  if (auto error = CheckDisjoint(shape, boxes)) return error;
  // Boxes that do not overlap hold no more elements than the shape, so the sum cannot overflow.
  const int64_t covered = TotalElements(boxes);
  const int64_t elements = *CheckedElements(shape);
  if (covered == elements) return std::nullopt;
  Boxes filled;
  for (const Box& box : boxes) {
    if (box.elements() > 0) filled.push_back(&box);
  }
  return DescribeHole(shape, filled, covered, elements);
}

}  // namespace autodist
