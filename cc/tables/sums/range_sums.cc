// The CRCs of many ranges of a file, by several threads. The header tells how.

#include "tables/sums/range_sums.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <numeric>
#include <system_error>
#include <utility>

#include "tables/bytes/crc32c.h"

namespace autodist {
namespace {

// Bytes between two ranges that are read for nothing rather than skipped.
constexpr int64_t kMostGap = 4096;

RangeSum Failed(const Outcome& outcome) {
  RangeSum sum;
  sum.error_number = outcome.error_number();
  sum.state =
      outcome.kind() == OutcomeKind::kUnreadable ? SumState::kUnreadable : SumState::kMissing;
  return sum;
}

}  // namespace

RangeSums::RangeSums(const ByteSource& source, std::vector<StoredRange> ranges, int threads)
    : source_(source), ranges_(std::move(ranges)), sums_(ranges_.size()) {
  MakeUnits();
  const int wanted = std::max(1, std::min<int>(threads, static_cast<int>(units_.size())));
  buffers_.assign(wanted, std::string(kUnitBytes, '\0'));
  threads_.reserve(wanted);
  const std::lock_guard<std::mutex> lock(mutex_);
  for (std::string& buffer : buffers_) {
    try {
      threads_.emplace_back([this, &buffer] { Work(&buffer); });
      ++working_;
    } catch (const std::system_error&) {
      break;  // At the limit of threads, those that there are do it; without any, WaitFor() does.
    }
  }
}

RangeSums::~RangeSums() {
  Stop();
  for (std::thread& thread : threads_) thread.join();
}

bool RangeSums::WaitFor(int milliseconds) {
  if (threads_.empty()) {
    working_ = 1;
    Work(&buffers_.front());
  }
  std::unique_lock<std::mutex> lock(mutex_);
  const auto is_done = [this] { return working_ == 0; };
  if (!ended_.wait_for(lock, std::chrono::milliseconds(milliseconds), is_done)) return false;
  if (!joined_) Join();
  joined_ = true;
  return true;
}

void RangeSums::MakeUnits() {
  order_.resize(ranges_.size());
  std::iota(order_.begin(), order_.end(), size_t{0});
  std::sort(order_.begin(), order_.end(),
            [this](size_t a, size_t b) { return ranges_[a].offset < ranges_[b].offset; });
  const int64_t file_bytes = static_cast<int64_t>(source_.size_bytes());
  for (size_t place = 0; place < order_.size(); ++place) {
    const StoredRange& range = ranges_[order_[place]];
    const int64_t end = range.offset + range.size_bytes;
    if (end > file_bytes) {
      sums_[order_[place]].state = SumState::kMissing;
      continue;
    }
    const bool is_alone = range.content != Content::kPlain || range.size_bytes > kUnitBytes;
    if (is_alone && range.content == Content::kPlain) {
      for (int64_t at = range.offset; at < end; at += kUnitBytes) {
        units_.push_back({place, 1, at, std::min(kUnitBytes, end - at), true, 0});
      }
      continue;
    }
    Unit* const last = units_.empty() ? nullptr : &units_.back();
    const bool joins = !is_alone && last != nullptr && !last->is_piece && last->count > 0 &&
                       last->first + last->count == place &&
                       ranges_[order_[last->first]].content == Content::kPlain &&
                       range.offset <= last->offset + last->size_bytes + kMostGap &&
                       end - last->offset <= kUnitBytes;
    if (joins) {
      ++last->count;
      last->size_bytes = std::max(last->size_bytes, end - last->offset);
    } else {
      units_.push_back({place, 1, range.offset, range.size_bytes, false, 0});
    }
  }
}

void RangeSums::Work(std::string* buffer) {
  while (!stopped_) {
    const size_t number = next_unit_++;
    if (number >= units_.size()) break;
    Unit& unit = units_[number];
    if (unit.is_piece) {
      SumPiece(&unit, buffer);
    } else if (ranges_[order_[unit.first]].content != Content::kPlain) {
      SumAlone(order_[unit.first], buffer);
    } else {
      SumTogether(unit, buffer);
    }
    done_bytes_ += unit.size_bytes;
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  if (--working_ == 0) ended_.notify_all();
}

void RangeSums::SumTogether(const Unit& unit, std::string* buffer) {
  const Outcome outcome = source_.Read(unit.offset, unit.size_bytes, buffer->data());
  for (size_t place = unit.first; place < unit.first + unit.count; ++place) {
    const StoredRange& range = ranges_[order_[place]];
    RangeSum& sum = sums_[order_[place]];
    if (!outcome.is_good()) {
      sum = Failed(outcome);
      continue;
    }
    sum.state = SumState::kSummed;
    sum.crc = CrcOf(
        {buffer->data() + (range.offset - unit.offset), static_cast<size_t>(range.size_bytes)});
  }
}

void RangeSums::SumAlone(size_t range, std::string* buffer) {
  RangeSum& sum = sums_[range];
  const Outcome outcome = SumRange(source_, ranges_[range], buffer, &sum.crc);
  if (outcome.is_good()) {
    sum.state = SumState::kSummed;
  } else if (outcome.kind() == OutcomeKind::kUnreadable) {
    sum = Failed(outcome);
  } else {
    sum.state = SumState::kUnparsable;
  }
}

void RangeSums::SumPiece(Unit* unit, std::string* buffer) {
  const Outcome outcome = source_.Read(unit->offset, unit->size_bytes, buffer->data());
  if (outcome.is_good()) {
    unit->crc = CrcOf({buffer->data(), static_cast<size_t>(unit->size_bytes)});
    return;
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  sums_[order_[unit->first]] = Failed(outcome);
}

void RangeSums::Join() {
  if (stopped_) return;
  for (const Unit& unit : units_) {
    RangeSum& sum = sums_[order_[unit.first]];
    if (!unit.is_piece) continue;
    if (sum.state == SumState::kNotDone) {
      sum.state = SumState::kSummed;
      sum.crc = unit.crc;
    } else if (sum.state == SumState::kSummed) {
      sum.crc = ConcatCrc(sum.crc, unit.crc, unit.size_bytes);
    }
  }
}

}  // namespace autodist
