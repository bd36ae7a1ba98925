// Reads a unit's bytes as they will stand in the data file: gathers shards, reduces replicas, and
// computes the CRC of the result.

#include "save/data/unit_reader.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "core/figures/deviation.h"
#include "format/values/copy_and_sum.h"

namespace autodist {
namespace {

// A reduction needs an aligned result, but the output of a batch may be unaligned, since a batch
// packs tensors without gaps. Then the result goes through a buffer that fits into the L1 cache.
constexpr int64_t kScratchBytes = 16384;

// How many bytes of each replica are compared before they are reduced: those of two, and the
// result, stay in the L1 cache.
constexpr int64_t kComparedBytes = 8192;

// How many bytes of each replica its reader copies at a time; a multiple of any element's size.
constexpr int64_t kReaderPieceBytes = 64 << 10;

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

UnitReader::UnitReader(const PlannedTensor& planned, const Unit& unit, const HeldValues& values)
    : aggregation_(planned.aggregation),
      arithmetic_(ArithmeticOf(planned.dtype)),
      element_bytes_(SavedElementBytes(planned.dtype)),
      first_element_(unit.begin) {
  size_t value = 0;
  const ValueRange* range = unit.ranges.empty() ? nullptr : unit.ranges.data();
  if (unit.shards.size() == 1 && planned.shards[unit.shards[0]].sources.size() == 1) {
    // A unit of one shard has nothing between the shard's elements.
    contiguous_ = BytesOf(values.tensors()[0]);
    contiguous_reader_ = values.reader(0);
    if (range != nullptr) contiguous_ += (range->needed - range->first) * element_bytes_;
    if (contiguous_reader_ != nullptr) contiguous_reader_->Expect(contiguous_, unit.size_bytes);
    if (values.is_fixed(0) && contiguous_reader_ == nullptr) fixed_ = contiguous_;
    return;
  }
  shards_.reserve(unit.shards.size());
  for (int index : unit.shards) {
    const PlannedShard& shard = planned.shards[index];
    shards_.push_back({RunPlan(planned.shape, shard.box), {}});
    for (size_t replica = 0; replica < shard.sources.size(); ++replica, ++value) {
      const int64_t first = range == nullptr ? 0 : range++->first;
      ByteReader* const reader = values.reader(value);
      has_readers_ = has_readers_ || reader != nullptr;
      shards_.back().replicas.push_back(
          {BytesOf(values.tensors()[value]), first * element_bytes_, reader});
    }
    most_replicas_ = std::max(most_replicas_, shard.sources.size());
  }
}

absl::StatusOr<absl::crc32c_t> UnitReader::Read(int64_t begin, int64_t end, char* out,
                                                FiguresCollector* collector) const {
  if (contiguous_reader_ != nullptr) {
    absl::Status status = contiguous_reader_->Read(contiguous_ + begin, end - begin, out);
    if (!status.ok()) return status;
    contiguous_reader_->Release(contiguous_ + begin, end - begin);
    return Sum(out, end - begin, collector);
  }
  if (contiguous_ != nullptr) {
    return CopyAndSum(contiguous_ + begin, end - begin, out, collector);
  }
  if (has_readers_) {
    absl::Status status = GatherFromReaders(begin, end, out, collector);
    if (!status.ok()) return status;
  } else if (reinterpret_cast<uintptr_t>(out) % ElementBytes(arithmetic_.type) == 0) {
    Gather(begin, end, out, collector);
  } else {
    alignas(64) char scratch[kScratchBytes];
    for (int64_t position = begin; position < end; position += kScratchBytes) {
      const int64_t stop = std::min(position + kScratchBytes, end);
      Gather(position, stop, scratch, collector);
      std::memcpy(out + (position - begin), scratch, stop - position);
    }
  }
  return Sum(out, end - begin, collector);
}

absl::Status UnitReader::GatherFromReaders(int64_t begin, int64_t end, char* out,
                                           FiguresCollector* collector) const {
  // Holds the bytes of all replicas, and then the result of the reduction.
  std::unique_ptr<char[]> memory(new char[(most_replicas_ + 1) * kReaderPieceBytes]);
  char* const made = memory.get() + most_replicas_ * kReaderPieceBytes;
  std::vector<Replica> read;
  for (int64_t position = begin; position < end; position += kReaderPieceBytes) {
    const int64_t stop = std::min(position + kReaderPieceBytes, end);
    const int64_t first = first_element_ + position / element_bytes_;
    const int64_t last = first_element_ + stop / element_bytes_;
    for (const Shard& shard : shards_) {
      absl::Status status = ReadReplicas(shard, first, last, memory.get(), &read);
      if (!status.ok()) return status;
      shard.runs.Visit(first, last, [&](const Run& run) {
        GatherRun(read, run, made + (run.output - first) * element_bytes_, collector);
      });
    }
    std::memcpy(out + (position - begin), made, stop - position);
  }
  return absl::OkStatus();
}

// Reads those elements of a shard that lie in [first, last) of the output. They are adjacent in the
// shard, so one read is enough.
absl::Status UnitReader::ReadReplicas(const Shard& shard, int64_t first, int64_t last,
                                      char* scratch, std::vector<Replica>* read) const {
  *read = shard.replicas;
  int64_t position = -1, size = 0;
  shard.runs.Visit(first, last, [&](const Run& run) {
    if (position < 0) position = run.source * element_bytes_;
    size += run.count * element_bytes_;
  });
  if (size == 0) return absl::OkStatus();
  for (Replica& replica : *read) {
    if (replica.reader == nullptr) continue;
    const char* const from = replica.bytes + (position - replica.first_byte);
    absl::Status status = replica.reader->Read(from, size, scratch);
    if (!status.ok()) return status;
    replica.reader->Release(from, size);
    replica = {scratch, position, nullptr};
    scratch += kReaderPieceBytes;
  }
  return absl::OkStatus();
}

void UnitReader::Gather(int64_t begin, int64_t end, char* out, FiguresCollector* collector) const {
  const int64_t first = first_element_ + begin / element_bytes_;
  const int64_t last = first_element_ + end / element_bytes_;
  for (const Shard& shard : shards_) {
    shard.runs.Visit(first, last, [&](const Run& run) {
      GatherRun(shard.replicas, run, out + (run.output - first) * element_bytes_, collector);
    });
  }
}

void UnitReader::GatherRun(absl::Span<const Replica> replicas, const Run& run, char* out,
                           FiguresCollector* collector) const {
  const int64_t position = run.source * element_bytes_;
  const int64_t size = run.count * element_bytes_;
  if (replicas.size() == 1) {
    std::memcpy(out, replicas[0].bytes + (position - replicas[0].first_byte), size);
    return;
  }
  const bool compares =
      collector != nullptr && aggregation_ == Aggregation::kMean && IsFloat(arithmetic_.type);
  const int64_t piece_bytes = compares ? kComparedBytes : std::max<int64_t>(size, 1);
  absl::InlinedVector<const void*, 8> sources(replicas.size());
  for (int64_t begin = 0; begin < size; begin += piece_bytes) {
    for (size_t i = 0; i < sources.size(); ++i) {
      sources[i] = replicas[i].bytes + (position + begin - replicas[i].first_byte);
    }
    const int count = static_cast<int>(sources.size());
    const int64_t elements = std::min(piece_bytes, size - begin) / ElementBytes(arithmetic_.type);
    if (compares) {
      collector->NoteDeviation(
          LargestDeviation(arithmetic_.type, sources.data(), count, elements, arithmetic_.codec));
    }
    Reduce(aggregation_, arithmetic_.type, sources.data(), count, elements, out + begin,
           arithmetic_.codec);
  }
}

}  // namespace autodist
