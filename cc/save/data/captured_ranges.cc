#include "save/data/captured_ranges.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace autodist {

absl::Status CapturedRanges::Set(absl::Span<const int64_t> ranges) {
  std::map<int64_t, Range> set;
  int64_t last_end = 0;
  for (size_t i = 0; i < ranges.size(); i += 2) {
    if (i + 1 == ranges.size() || ranges[i] < last_end || ranges[i + 1] <= ranges[i]) {
      return absl::InvalidArgumentError("ranges of a file must be ascending and disjoint");
    }
    last_end = ranges[i + 1];
    set.emplace_hint(set.end(), ranges[i], Range{last_end, 0, {}});
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  ranges_ = std::move(set);
  return absl::OkStatus();
}

absl::Status CapturedRanges::Keep(int64_t offset, absl::string_view bytes, const Rest& rest) {
  const int64_t end = offset + static_cast<int64_t>(bytes.size());
  int64_t position = offset;
  while (position < end) {
    int64_t next = end;
    bool is_kept = false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      auto range = ranges_.upper_bound(position);
      if (range != ranges_.end()) next = std::min(next, range->first);
      if (range != ranges_.begin() && position < std::prev(range)->second.end) {
        --range;
        is_kept = true;
        Range& kept = range->second;
        next = std::min(end, kept.end);
        kept.bytes.resize(kept.end - range->first);
        std::memcpy(&kept.bytes[position - range->first], bytes.data() + (position - offset),
                    next - position);
        kept.kept_bytes += next - position;
      }
    }
    if (!is_kept) {
      absl::Status status = rest(position, bytes.substr(position - offset, next - position));
      if (!status.ok()) return status;
    }
    position = next;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> CapturedRanges::Take(int64_t begin, int64_t end) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto range = ranges_.find(begin);
  if (range == ranges_.end() || range->second.end != end ||
      range->second.kept_bytes != end - begin) {
    return absl::InternalError(
        absl::StrCat("bytes ", begin, " to ", end, " of the file are not kept on this task"));
  }
  std::string bytes = std::move(range->second.bytes);
  ranges_.erase(range);
  return bytes;
}

}  // namespace autodist
