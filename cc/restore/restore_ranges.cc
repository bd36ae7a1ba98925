// Which task of a cluster reads, sums and takes which bytes of a checkpoint. The header tells how.

#include "restore/restore_ranges.h"

#include <algorithm>
#include <map>
#include <queue>
#include <utility>

#include "absl/crc/crc32c.h"
#include "absl/strings/str_cat.h"
#include "format/reader/data_files.h"
#include "format/values/element_type.h"

namespace autodist {
namespace {

// Bytes of a piece.
struct Range {
  int64_t begin = INT64_MAX;
  int64_t end = 0;

  void Include(int64_t first, int64_t past) {
    begin = std::min(begin, first);
    end = std::max(end, past);
  }
};

// What the targets of one task take of a piece, from the first byte to the last.
struct Need {
  Range fresh;
  Range live;
};

// Plans piece by piece.
class Planner {
 public:
  Planner(const BundleIndex& index, const RangeOptions& options)
      : index_(index), options_(options) {
    const size_t count = options.readers.size();
    ranges_.checks.resize(count);
    ranges_.fresh.resize(count);
    ranges_.live.resize(count);
    read_bytes_.resize(count);
  }

  void Add(const Group& group, const Piece& piece) {
    const int64_t element_bytes = SavedElementBytes(group.dtype);
    std::map<int, Need> needs;  // by task
    for (const Delivery& delivery : piece.deliveries) {
      if (delivery.runs.elements() == 0) continue;
      const int target = group.targets[delivery.target].number;
      Need& need = needs[options_.tasks[target]];
      Range& range = options_.live[target] ? need.live : need.fresh;
      range.Include(delivery.runs.first_output() * element_bytes,
                    delivery.runs.end_output() * element_bytes);
    }
    const size_t first = ranges_.segments.size();
    Cut(piece.entry, needs);
    for (const auto& [task, need] : needs) {
      Take(first, need.fresh, task, &ranges_.fresh);
      Take(first, need.live, task, &ranges_.live);
      if (need.fresh.end > 0) {
        read_bytes_[options_.readers[task] ? task : 0] += need.fresh.end - need.fresh.begin;
      }
    }
    for (size_t i = first; i < ranges_.segments.size(); ++i) {
      if (!IsSummed(ranges_.segments[i], needs)) unsummed_.push_back(static_cast<int>(i));
    }
  }

  // Shares out what nobody sums yet: each to the reader that has least to read.
  RestoreRanges Finish() && {
    using Reader = std::pair<int64_t, int>;
    std::priority_queue<Reader, std::vector<Reader>, std::greater<>> readers;
    for (size_t task = 0; task < options_.readers.size(); ++task) {
      if (options_.readers[task]) readers.emplace(read_bytes_[task], static_cast<int>(task));
    }
    for (int number : unsummed_) {
      const Segment& segment = ranges_.segments[number];
      const auto [bytes, task] = readers.top();
      readers.pop();
      ranges_.checks[task].push_back(number);
      readers.emplace(bytes + segment.end - segment.begin, task);
    }
    return std::move(ranges_);
  }

 private:
  void Cut(int entry, const std::map<int, Need>& needs) {
    const int64_t size_bytes = index_.entries[entry].size_bytes;
    std::vector<int64_t> cuts = {size_bytes};
    for (const auto& [task, need] : needs) {
      for (const Range& range : {need.fresh, need.live}) {
        if (range.end > 0) cuts.insert(cuts.end(), {range.begin, range.end});
      }
    }
    std::sort(cuts.begin(), cuts.end());
    int64_t begin = 0;
    for (const int64_t cut : cuts) {
      while (begin < cut) {
        const int64_t end = std::min(cut, begin + options_.segment_bytes);
        ranges_.segments.push_back({entry, begin, end});
        begin = end;
      }
    }
  }

  void Take(size_t first, const Range& range, int task, TaskSegments* taken) {
    if (range.end == 0) return;
    const auto begins_before = [](const Segment& segment, int64_t begin) {
      return segment.begin < begin;
    };
    auto segment = std::lower_bound(ranges_.segments.begin() + first, ranges_.segments.end(),
                                    range.begin, begins_before);
    for (; segment != ranges_.segments.end() && segment->begin < range.end; ++segment) {
      (*taken)[task].push_back(static_cast<int>(segment - ranges_.segments.begin()));
    }
  }

  bool IsSummed(const Segment& segment, const std::map<int, Need>& needs) const {
    const auto covers = [&segment](const Range& range) {
      return range.begin <= segment.begin && segment.end <= range.end;
    };
    return std::any_of(needs.begin(), needs.end(), [&](const auto& need) {
      return covers(need.second.fresh) || (!options_.verify_first && covers(need.second.live));
    });
  }

  const BundleIndex& index_;
  const RangeOptions& options_;
  RestoreRanges ranges_;
  std::vector<int> unsummed_;
  std::vector<int64_t> read_bytes_;  // by task, of what it reads while the rest is summed
};

}  // namespace

RestoreRanges PlanRestoreRanges(const BundleIndex& index, const RestorePlan& plan,
                                const RangeOptions& options) {
  Planner planner(index, options);
  for (const Group& group : plan.groups) {
    for (const Piece& piece : group.pieces) planner.Add(group, piece);
  }
  return std::move(planner).Finish();
}

absl::Status SegmentSums::Add(absl::Span<const int64_t> numbers, absl::Span<const int64_t> crcs) {
  if (numbers.size() != crcs.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("there are ", numbers.size(), " segments but ", crcs.size(), " sums"));
  }
  for (size_t i = 0; i < numbers.size(); ++i) {
    std::optional<uint32_t>& sum = sums_.at(numbers[i]);
    const uint32_t found = static_cast<uint32_t>(crcs[i]);
    if (sum.value_or(found) != found) {
      return absl::DataLossError(absl::StrCat(
          Locate(segments_[numbers[i]]), " are not the same for all who read them: CRC ",
          absl::Hex(*sum, absl::kZeroPad8), " and ", absl::Hex(found, absl::kZeroPad8)));
    }
    sum = found;
  }
  return absl::OkStatus();
}

absl::Status SegmentSums::Verify() const {
  size_t i = 0;
  while (i < segments_.size()) {
    const int number = segments_[i].entry;
    const BundleEntry& entry = index_.entries[number];
    absl::crc32c_t joined{0};
    for (; i < segments_.size() && segments_[i].entry == number; ++i) {
      if (!sums_[i]) {
        return absl::InternalError(absl::StrCat(Locate(segments_[i]), " were summed by nobody"));
      }
      joined = absl::ConcatCrc32c(joined, absl::crc32c_t{*sums_[i]},
                                  segments_[i].end - segments_[i].begin);
    }
    const uint32_t found = static_cast<uint32_t>(joined);
    if (found == entry.crc32c) continue;
    return absl::DataLossError(absl::StrCat(Locate({number, 0, entry.size_bytes}), " have the CRC ",
                                            absl::Hex(found, absl::kZeroPad8), ", written with ",
                                            absl::Hex(entry.crc32c, absl::kZeroPad8)));
  }
  return absl::OkStatus();
}

std::string SegmentSums::Locate(const Segment& segment) const {
  const BundleEntry& entry = index_.entries[segment.entry];
  const DataFiles files(prefix_, index_.shard_count);
  return absl::StrCat(
      entry.ToString(), ": ",
      files.Range(entry.shard_id, entry.offset + segment.begin, segment.end - segment.begin));
}

}  // namespace autodist
