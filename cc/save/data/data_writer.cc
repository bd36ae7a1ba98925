// Writes the bytes of a plan: the part of a save between the plan and the index. See job_queue.h
// for how the threads share the work.

#include "save/data/data_writer.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/crc/crc32c.h"
#include "absl/strings/str_cat.h"
#include "format/values/copy_and_sum.h"
#include "format/values/element_type.h"
#include "save/data/figures_collector.h"
#include "save/data/unit_reader.h"
#include "threads/block.h"
#include "threads/job_threads.h"

namespace autodist {
namespace {

// Of fixed bytes, what is summed and then written while it is in the second-level cache.
constexpr int64_t kPieceBytes = 256 << 10;
// For less, the call of a write of its own takes longer than a copy.
constexpr int64_t kLeastFixedBytes = 128 << 10;

// A large unit that the threads share.
struct OpenRead : OpenUnit {
  OpenRead(int unit, int64_t block_count, const UnitReader* reader)
      : OpenUnit{unit, block_count}, reader(reader) {}
  const UnitReader* reader;
};

// Writes the data file. Run() is called once.
class DataWriter : private JobWork {
 public:
  DataWriter(const SavePlan& plan, const FilePlan& file, std::vector<TensorStream>* streams,
             Sources* sources, const DataSink& sink, const std::atomic<bool>* cancelled,
             bool has_figures)
      : plan_(plan),
        file_(file),
        streams_(*streams),
        sources_(*sources),
        sink_(sink),
        threads_(&file.jobs, this, cancelled),
        unit_crcs_(file.units.size()),
        has_figures_(has_figures),
        unit_figures_(has_figures ? file.units.size() : 0) {}

  absl::Status Run(int thread_count) { return threads_.Run(thread_count); }

  // Of the planned tensors, also those without units; none if they were not asked for.
  // REQUIRES: Run() has succeeded.
  std::vector<Figures> TensorFigures() const {
    std::vector<Figures> figures(has_figures_ ? plan_.tensors.size() : 0);
    for (size_t i = 0; i < unit_figures_.size(); ++i) {
      for (const Figures& block : unit_figures_[i]) Join(block, &figures[file_.units[i].tensor]);
    }
    return figures;
  }

  // The CRCs of the planned tensors, unmasked. REQUIRES: Run() has succeeded.
  std::vector<uint32_t> TensorCrcs() const {
    std::vector<absl::crc32c_t> crcs(plan_.tensors.size(), absl::crc32c_t{0});
    for (size_t i = 0; i < file_.units.size(); ++i) {
      const Unit& unit = file_.units[i];
      absl::crc32c_t& crc = crcs[unit.tensor];
      for (size_t block = 0; block < unit_crcs_[i].size(); ++block) {
        crc = absl::ConcatCrc32c(crc, unit_crcs_[i][block], BlockSize(unit.size_bytes, block));
      }
    }
    std::vector<uint32_t> result;
    result.reserve(crcs.size());
    for (size_t i = 0; i < crcs.size(); ++i) {
      const EncodedStream* stream = streams_[i].stream.get();
      result.push_back(stream ? stream->crc32c() : static_cast<uint32_t>(crcs[i]));
    }
    return result;
  }

 private:
  absl::Status DoJob(const Job& job, char* buffer) override {
    switch (job.kind) {
      case Job::Kind::kBatch:
        return WriteBatch(job, buffer);
      case Job::Kind::kBlocks:
        return WriteBlocks(job, buffer);
      case Job::Kind::kStream:
        return WriteStream(job, buffer);
    }
    return absl::InternalError("unknown kind of job");
  }

  absl::StatusOr<std::unique_ptr<HeldValues>> Acquire(const Unit& unit, Sources::Hold hold) {
    const PlannedTensor& planned = plan_.tensors[unit.tensor];
    auto values = sources_.Acquire(SourcesOf(planned, unit.shards), hold);
    if (!values.ok()) return values;
    const absl::Status fits =
        CheckValues(planned, unit.shards, (*values)->tensors(), !unit.ranges.empty());
    if (!fits.ok()) return fits;
    return values;
  }

  // What collects the figures of a block of a unit; nothing where there are none.
  std::optional<FiguresCollector> CollectorFor(const Unit& unit) const {
    if (!has_figures_) return std::nullopt;
    const Arithmetic arithmetic = ArithmeticOf(plan_.tensors[unit.tensor].dtype);
    if (!HasFigures(arithmetic.type)) return std::nullopt;
    return FiguresCollector(arithmetic);
  }

  absl::Status WriteBatch(const Job& job, char* buffer) {
    int64_t written = 0;
    const auto write_copies = [&](int64_t end) {
      if (end == written) return absl::OkStatus();
      const int64_t begin = std::exchange(written, end);
      return sink_(job.offset + begin, absl::string_view(buffer + begin, end - begin));
    };
    for (int i = job.first; i < job.last; ++i) {
      const Unit& unit = file_.units[i];
      const int64_t begin = unit.offset - job.offset;
      auto values = Acquire(unit, Sources::Hold::kBrief);
      if (!values.ok()) return values.status();
      const UnitReader reader(plan_.tensors[unit.tensor], unit, **values);
      absl::crc32c_t& crc = unit_crcs_[i].emplace_back();
      std::optional<FiguresCollector> collected = CollectorFor(unit);
      FiguresCollector* const collector = collected ? &*collected : nullptr;
      if (reader.fixed_bytes() != nullptr && unit.size_bytes >= kLeastFixedBytes) {
        absl::Status status = write_copies(begin);
        if (status.ok()) {
          status = WriteFixed(unit.offset, reader.fixed_bytes(), unit.size_bytes, &crc, collector);
        }
        if (!status.ok()) return status;
        if (collected) unit_figures_[i].push_back(collected->figures());
        written = begin + unit.size_bytes;
        continue;
      }
      const absl::StatusOr<absl::crc32c_t> read =
          reader.Read(0, unit.size_bytes, buffer + begin, collector);
      if (!read.ok()) return read.status();
      crc = *read;
      if (collected) unit_figures_[i].push_back(collected->figures());
    }
    return write_copies(job.size_bytes);
  }

  // Sums bytes that nobody changes (sources.h), and writes them from where they are.
  absl::Status WriteFixed(int64_t offset, const char* bytes, int64_t size, absl::crc32c_t* crc,
                          FiguresCollector* collector) {
    *crc = absl::crc32c_t{0};
    for (int64_t begin = 0; begin < size; begin += kPieceBytes) {
      const int64_t piece = std::min(kPieceBytes, size - begin);
      *crc = absl::ConcatCrc32c(*crc, Sum(bytes + begin, piece, collector), piece);
      absl::Status status = sink_(offset + begin, absl::string_view(bytes + begin, piece));
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status WriteBlocks(const Job& job, char* buffer) {
    const Unit& unit = file_.units[job.first];
    auto values = Acquire(unit, Sources::Hold::kLong);
    if (!values.ok()) return values.status();
    const UnitReader reader(plan_.tensors[unit.tensor], unit, **values);
    OpenRead open(job.first, BlockCount(unit.size_bytes), &reader);
    unit_crcs_[job.first].resize(open.block_count);
    if (has_figures_) unit_figures_[job.first].resize(open.block_count);
    return threads_.ShareBlocks(&open, buffer);
  }

  absl::Status DoBlock(OpenUnit* unit, int64_t block, char* buffer) override {
    const OpenRead& open = *static_cast<OpenRead*>(unit);
    const Unit& planned = file_.units[open.unit];
    const int64_t begin = block * kBlockBytes;
    const int64_t size = BlockSize(planned.size_bytes, block);
    std::optional<FiguresCollector> collected = CollectorFor(planned);
    FiguresCollector* const collector = collected ? &*collected : nullptr;
    absl::crc32c_t& crc = unit_crcs_[open.unit][block];
    absl::Status status;
    if (const char* fixed = open.reader->fixed_bytes(); fixed != nullptr) {
      status = WriteFixed(planned.offset + begin, fixed + begin, size, &crc, collector);
    } else {
      const absl::StatusOr<absl::crc32c_t> read =
          open.reader->Read(begin, begin + size, buffer, collector);
      if (!read.ok()) return read.status();
      crc = *read;
      status = sink_(planned.offset + begin, absl::string_view(buffer, size));
    }
    if (collected) unit_figures_[open.unit][block] = collected->figures();
    return status;
  }

  absl::Status WriteStream(const Job& job, char* buffer) {
    EncodedStream& stream = *streams_[job.first].stream;
    int64_t position = 0;
    while (const size_t size = stream.Next(buffer, kBlockBytes)) {
      if (position + static_cast<int64_t>(size) > job.size_bytes) break;
      absl::Status status = sink_(job.offset + position, absl::string_view(buffer, size));
      if (status.ok()) status = threads_.CheckCancelled();
      if (!status.ok()) return status;
      position += size;
    }
    if (position == job.size_bytes) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat(plan_.tensors[job.first].ToString(), ": its strings changed during the save"));
  }

  const SavePlan& plan_;
  const FilePlan& file_;
  std::vector<TensorStream>& streams_;
  Sources& sources_;
  const DataSink& sink_;
  JobThreads threads_;
  std::vector<std::vector<absl::crc32c_t>> unit_crcs_;  // by unit, by block
  const bool has_figures_;
  std::vector<std::vector<Figures>> unit_figures_;  // the same; none if not asked for
};

}  // namespace

absl::StatusOr<std::vector<TensorStream>> MakeStreams(const SavePlan& plan, Sources* sources) {
  std::vector<TensorStream> streams(plan.tensors.size());
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    if (SavedElementBytes(plan.tensors[i].dtype) != 0) continue;
    absl::StatusOr<TensorStream> stream = MakeTensorStream(plan.tensors[i], sources);
    if (!stream.ok()) return stream.status();
    streams[i] = *std::move(stream);
  }
  return streams;
}

std::vector<int64_t> StreamBytes(const std::vector<TensorStream>& streams) {
  std::vector<int64_t> sizes;
  sizes.reserve(streams.size());
  for (const TensorStream& stream : streams) {
    sizes.push_back(stream.stream == nullptr ? 0 : stream.stream->size_bytes());
  }
  return sizes;
}

absl::StatusOr<WrittenData> WriteData(const SavePlan& plan, const FilePlan& file,
                                      std::vector<TensorStream>* streams, Sources* sources,
                                      const DataSink& sink, int thread_count,
                                      const std::atomic<bool>* cancelled, bool has_figures) {
  DataWriter writer(plan, file, streams, sources, sink, cancelled, has_figures);
  absl::Status status = writer.Run(thread_count);
  if (!status.ok()) return status;
  return WrittenData{writer.TensorCrcs(), writer.TensorFigures()};
}

}  // namespace autodist
