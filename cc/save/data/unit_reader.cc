// See the header for what this is for.

#include "save/data/unit_reader.h"

#include <algorithm>
#include <cstring>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "format/values/copy_and_sum.h"

namespace autodist {
namespace {

// Reductions want aligned results; a batch packs tensors without gaps. The detour is short enough
// for L1.
constexpr int64_t kScratchBytes = 16384;

const char* BytesOf(const tensorflow::Tensor& value) { return value.tensor_data().data(); }

}  // namespace

absl::Status CheckValues(const PlannedTensor& planned, absl::Span<const int> shards,
                         absl::Span<const tensorflow::Tensor> values, bool may_be_parts) {
  const tensorflow::Tensor* value = values.data();
  for (int index : shards) {
    const PlannedShard& shard = planned.shards[index];
    for (size_t replica = 0; replica < shard.sources.size(); ++replica, ++value) {
      const auto sizes = value->shape().dim_sizes();
      const bool is_part = may_be_parts && value->dims() == 1;
      const bool fits = value->dtype() == planned.dtype &&
                        (is_part || std::equal(sizes.begin(), sizes.end(), shard.box.extent.begin(),
                                               shard.box.extent.end()));
      if (fits) continue;
      return absl::FailedPreconditionError(absl::StrCat(
          planned.ToString(), ": shard ", shard.box.ToString(), " was planned as ",
          tensorflow::DataTypeString(planned.dtype), " of shape ", DimsToString(shard.box.extent),
          " but became ", tensorflow::DataTypeString(value->dtype()), " of shape ",
          value->shape().DebugString(), " during the save"));
    }
  }
  return absl::OkStatus();
}

UnitReader::UnitReader(const PlannedTensor& planned, const Unit& unit,
                       absl::Span<const tensorflow::Tensor> values)
    : aggregation_(planned.aggregation),
      arithmetic_(ArithmeticOf(planned.dtype)),
      element_bytes_(SavedElementBytes(planned.dtype)),
      first_element_(unit.begin) {
  const tensorflow::Tensor* value = values.data();
  const ValueRange* range = unit.ranges.empty() ? nullptr : unit.ranges.data();
  if (unit.shards.size() == 1 && planned.shards[unit.shards[0]].sources.size() == 1) {
    // A unit of one shard has nothing between the shard's elements.
    contiguous_ = BytesOf(*value);
    if (range != nullptr) contiguous_ += (range->needed - range->first) * element_bytes_;
    return;
  }
  shards_.reserve(unit.shards.size());
  for (int index : unit.shards) {
    const PlannedShard& shard = planned.shards[index];
    shards_.push_back({RunPlan(planned.shape, shard.box), {}});
    for (size_t replica = 0; replica < shard.sources.size(); ++replica, ++value) {
      const int64_t first = range == nullptr ? 0 : range++->first;
      shards_.back().replicas.push_back({BytesOf(*value), first * element_bytes_});
    }
  }
}

absl::crc32c_t UnitReader::Read(int64_t begin, int64_t end, char* out) const {
  if (contiguous_ != nullptr) {
    return CopyAndSum(contiguous_ + begin, end - begin, out);
  }
  if (reinterpret_cast<uintptr_t>(out) % ElementBytes(arithmetic_.type) == 0) {
    Gather(begin, end, out);
  } else {
    alignas(64) char scratch[kScratchBytes];
    for (int64_t position = begin; position < end; position += kScratchBytes) {
      const int64_t stop = std::min(position + kScratchBytes, end);
      Gather(position, stop, scratch);
      std::memcpy(out + (position - begin), scratch, stop - position);
    }
  }
  return Sum(out, end - begin);
}

void UnitReader::Gather(int64_t begin, int64_t end, char* out) const {
  const int64_t first = first_element_ + begin / element_bytes_;
  const int64_t last = first_element_ + end / element_bytes_;
  for (const Shard& shard : shards_) {
    shard.runs.Visit(first, last, [&](const Run& run) {
      GatherRun(shard, run, out + (run.output - first) * element_bytes_);
    });
  }
}

void UnitReader::GatherRun(const Shard& shard, const Run& run, char* out) const {
  const int64_t position = run.source * element_bytes_;
  const int64_t size = run.count * element_bytes_;
  if (shard.replicas.size() == 1) {
    std::memcpy(out, shard.replicas[0].bytes + (position - shard.replicas[0].first_byte), size);
    return;
  }
  absl::InlinedVector<const void*, 8> sources(shard.replicas.size());
  for (size_t i = 0; i < sources.size(); ++i) {
    sources[i] = shard.replicas[i].bytes + (position - shard.replicas[i].first_byte);
  }
  Reduce(aggregation_, arithmetic_.type, sources.data(), static_cast<int>(sources.size()),
         size / ElementBytes(arithmetic_.type), out, arithmetic_.codec);
}

}  // namespace autodist
