// Parts of a plan as numbers, which the client that made the plan sends to the tasks that write
// them.
//
//   parts:  count, then per part: dtype, aggregation, begin, end, offset, size, rank, shape, number
//   of
//           shards, then per shard: start, extent, number of replicas, then per replica: buffer,
//           source or offset, first element, elements
//   reads:  count, then per read: source, first element, elements

#include "save/plan/part_codec.h"

#include <utility>

#include "core/number_reader.h"
#include "format/values/element_type.h"

namespace autodist {
namespace {

void AppendDims(const Dims& dims, std::vector<int64_t>* numbers) {
  numbers->insert(numbers->end(), dims.begin(), dims.end());
}

absl::Status Wrong() {
  return absl::InvalidArgumentError("the parts of a save are not as they were encoded");
}

// Where the bytes of one task go in the buffer that it sends.
class Buffers {
 public:
  Buffers(absl::Span<const Part* const> parts, const std::vector<int>& tasks, EncodedParts* encoded)
      : tasks_(tasks), encoded_(*encoded) {
    for (const Part* part : parts) {
      for (const PartSource& source : part->sources) {
        if (tasks[source.source] != part->writer) encoded_.read[tasks[source.source]] = {0};
      }
    }
    int next = 0;
    for (const auto& [task, numbers] : encoded_.read) buffers_[task] = {next++, 0};
  }

  // Appends where a writer finds `source`, and lets its task send it if that is another.
  void Append(const Part& part, const PartSource& source, int64_t element_bytes) {
    const int task = tasks_[source.source];
    std::vector<int64_t>& write = encoded_.write;
    if (task == part.writer) {
      write.insert(write.end(), {PartValue::kHeld, source.source, source.first, source.count});
      return;
    }
    auto& [buffer, size_bytes] = buffers_[task];
    write.insert(write.end(), {buffer, size_bytes, source.first, source.count});
    size_bytes += AlignedSize(source.count * element_bytes);
    std::vector<int64_t>& read = encoded_.read[task];
    ++read[0];
    read.insert(read.end(), {source.source, source.first, source.count});
  }

 private:
  const std::vector<int>& tasks_;
  EncodedParts& encoded_;
  std::map<int, std::pair<int, int64_t>> buffers_;  // by task: number, bytes so far
};

// How many numbers tell a writer of `parts`.
size_t NumbersOf(const SavePlan& plan, absl::Span<const Part* const> parts) {
  size_t count = 1;
  for (const Part* part : parts) {
    const size_t rank = plan.tensors[part->tensor].shape.size();
    count += 8 + rank + part->shards.size() * (2 * rank + 1) + part->sources.size() * 4;
  }
  return count;
}

// Reads the shards of a part and where their sources are.
bool DecodeShards(NumberReader* numbers, PlannedTensor* planned, Unit* unit, PartWork* work) {
  const int64_t rank = static_cast<int64_t>(planned->shape.size());
  const int64_t shards = numbers->Count();
  const int64_t element_bytes = SavedElementBytes(planned->dtype);
  for (int64_t i = 0; i < shards && !numbers->has_failed(); ++i) {
    PlannedShard shard;
    shard.box.start = numbers->Naturals(rank);
    shard.box.extent = numbers->Naturals(rank);
    if (numbers->has_failed()) return false;
    for (int64_t axis = 0; axis < rank; ++axis) {
      if (shard.box.extent[axis] > planned->shape[axis] ||
          shard.box.start[axis] > planned->shape[axis] - shard.box.extent[axis]) {
        return false;
      }
    }
    const int64_t elements = shard.box.elements();
    const int64_t replicas = numbers->Count();
    if (replicas == 0) return false;
    for (int64_t replica = 0; replica < replicas && !numbers->has_failed(); ++replica) {
      PartValue value;
      value.buffer = static_cast<int>(numbers->Next(PartValue::kHeld, INT32_MAX));
      const bool is_held = value.buffer == PartValue::kHeld;
      value.source = is_held ? numbers->Natural() : 0;
      value.offset = is_held ? 0 : numbers->Natural();
      value.first = numbers->Next(0, elements);
      value.count = numbers->Next(0, elements - value.first);
      shard.sources.push_back(static_cast<int>(work->values.size()));
      if (element_bytes != 0) {
        unit->ranges.push_back({is_held ? 0 : value.first, value.first});
      }
      work->values.push_back(value);
    }
    unit->shards.push_back(static_cast<int>(planned->shards.size()));
    planned->shards.push_back(std::move(shard));
  }
  return !numbers->has_failed();
}

}  // namespace

EncodedParts EncodeParts(const SavePlan& plan, absl::Span<const Part* const> parts,
                         const std::vector<int>& tasks) {
  EncodedParts encoded;
  Buffers buffers(parts, tasks, &encoded);
  std::vector<int64_t>& write = encoded.write;
  write.reserve(NumbersOf(plan, parts));
  write.push_back(static_cast<int64_t>(parts.size()));
  for (const Part* part : parts) {
    const PlannedTensor& planned = plan.tensors[part->tensor];
    write.insert(write.end(),
                 {planned.dtype, static_cast<int64_t>(planned.aggregation), part->begin, part->end,
                  part->offset, part->size_bytes, static_cast<int64_t>(planned.shape.size())});
    AppendDims(planned.shape, &write);
    write.push_back(static_cast<int64_t>(part->shards.size()));
    size_t next = 0;
    for (int index : part->shards) {
      const PlannedShard& shard = planned.shards[index];
      AppendDims(shard.box.start, &write);
      AppendDims(shard.box.extent, &write);
      write.push_back(static_cast<int64_t>(shard.sources.size()));
      for (size_t i = 0; i < shard.sources.size(); ++i) {
        buffers.Append(*part, part->sources[next++], SavedElementBytes(planned.dtype));
      }
    }
  }
  return encoded;
}

absl::StatusOr<PartWork> DecodeParts(absl::Span<const int64_t> numbers,
                                     const std::vector<std::string>& names, int64_t block_bytes) {
  NumberReader input(numbers.data(), numbers.size());
  PartWork work;
  const int64_t count = input.Count();
  if (count != static_cast<int64_t>(names.size())) return Wrong();
  for (int64_t i = 0; i < count; ++i) {
    PlannedTensor planned;
    planned.name = names[i];
    planned.dtype = static_cast<tensorflow::DataType>(input.Next(1, tensorflow::DataType_MAX));
    planned.aggregation = static_cast<Aggregation>(
        input.Next(0, static_cast<int64_t>(Aggregation::kOnlyFirstReplica)));
    Unit unit{static_cast<int>(i), 0, 0, 0, 0, {}, {}};
    unit.begin = input.Natural();
    unit.end = input.Next(unit.begin, INT64_MAX);
    unit.offset = input.Natural();
    unit.size_bytes = input.Natural();
    planned.shape = input.Naturals(input.Next(0, 254));
    if (input.has_failed() || !CheckedElements(planned.shape).has_value()) return Wrong();
    if (!DecodeShards(&input, &planned, &unit, &work)) return Wrong();
    const int64_t element_bytes = SavedElementBytes(planned.dtype);
    work.file.extents.push_back({unit.offset, unit.size_bytes});
    work.file.size_bytes += unit.size_bytes;
    if (element_bytes == 0) {
      const int index = static_cast<int>(i);
      work.file.jobs.push_back(
          {Job::Kind::kStream, index, index + 1, unit.offset, unit.size_bytes});
    } else {
      if (unit.end > *CheckedElements(planned.shape) ||
          unit.size_bytes != (unit.end - unit.begin) * element_bytes) {
        return Wrong();
      }
      AddUnitJob(unit, static_cast<int>(work.file.units.size()), block_bytes, &work.file.jobs);
      work.file.units.push_back(std::move(unit));
    }
    work.plan.tensors.push_back(std::move(planned));
  }
  if (!input.is_complete()) return Wrong();
  return work;
}

absl::StatusOr<std::vector<PartRead>> DecodeReads(absl::Span<const int64_t> numbers) {
  NumberReader input(numbers.data(), numbers.size());
  std::vector<PartRead> reads(input.Count());
  for (PartRead& read : reads) {
    read.source = input.Natural();
    read.first = input.Natural();
    read.count = input.Natural();
  }
  if (!input.is_complete()) return Wrong();
  return reads;
}

}  // namespace autodist
