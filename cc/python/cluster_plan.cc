// `_bundle.ClusterPlan`: which task writes what of a checkpoint whose shards lie on several tasks.
// See save/plan/part_plan.h for the idea.

#include "python/cluster_plan.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/crc/crc32c.h"
#include "absl/strings/str_cat.h"
#include "core/figures/figures.h"
#include "format/values/element_type.h"
#include "python/planned_arrays.h"
#include "python/released_gil.h"
#include "python/status_exceptions.h"
#include "save/commit/index_entries.h"
#include "save/data/tensor_figures.h"
#include "save/plan/part_codec.h"
#include "save/plan/part_plan.h"
#include "save/plan/save_plan.h"
#include "save/plan/shared_blocks.h"

namespace py = pybind11;

namespace autodist {
namespace {

// What the lengths of an encoded string tensor are followed by.
constexpr int64_t kLengthsCrcBytes = 4;

class ClusterPlan {
 public:
  ClusterPlan(const py::iterable& entries, const std::string& layout, int chief,
              const std::vector<bool>& writers, int64_t part_bytes, int64_t group_bytes,
              int64_t block_bytes)
      : chief_(chief) {
    absl::StatusOr<SaveLayout> parsed = ParseSaveLayout(layout);
    Check(parsed.status());
    SavePlanBuilder builder(*parsed);
    std::vector<int64_t> encoded_bytes;
    // A batch at a time, so that other threads of Python run meanwhile.
    std::vector<SaveEntry> batch;
    const auto add = [&] {
      const ReleasedGil released;
      for (const SaveEntry& entry : batch) Check(builder.Add(entry));
      batch.clear();
    };
    for (const py::handle& entry : entries) {
      batch.push_back(TakeEntry(entry, &encoded_bytes));
      if (batch.size() == kBatch) add();
    }
    add();
    const ReleasedGil released;
    absl::StatusOr<SavePlan> plan = builder.Finish();
    Check(plan.status());
    plan_ = *std::move(plan);
    parts_ = PlanParts(plan_, StreamBytes(encoded_bytes), tasks_,
                       {chief, writers, part_bytes, block_bytes, group_bytes});
    blocks_ = ShareBlocks(parts_.parts, block_bytes);
    groups_.resize(parts_.group_count);
    for (size_t i = 0; i < parts_.parts.size(); ++i) {
      const Part& part = parts_.parts[i];
      if (part.group != Part::kDirect) groups_[part.group].push_back(static_cast<int>(i));
    }
  }

  int64_t size_bytes() const { return parts_.size_bytes; }
  int64_t variable_count() const { return plan_.variable_count; }
  int64_t shard_count() const { return plan_.shard_count; }
  int64_t replica_count() const { return plan_.replica_count; }
  int group_count() const { return parts_.group_count; }
  int64_t part_count() const { return static_cast<int64_t>(parts_.parts.size()); }

  int64_t writer_count() const {
    std::set<int> writers;
    for (const WriterRun& run : blocks_.runs) writers.insert(run.writer);
    return static_cast<int64_t>(writers.size());
  }

  // The rounds of what tasks write of their own, one after the other.
  class DirectRounds {
   public:
    DirectRounds(const ClusterPlan& plan, int64_t limit_bytes)
        : plan_(plan), limit_bytes_(limit_bytes) {}

    // The next round. Throws StopIteration after the last.
    py::tuple Next() {
      const std::vector<Part>& parts = plan_.parts_.parts;
      const std::vector<Handover>& all = plan_.blocks_.handovers;
      std::map<int, std::vector<int>> by_writer;
      std::vector<const Handover*> handovers;
      std::map<int, int64_t> given, received;  // bytes by task
      bool is_full = false;
      for (; part_ < parts.size() && !is_full; ++part_) {
        const int number = static_cast<int>(part_);
        if (parts[part_].group == Part::kDirect) {
          std::vector<int>& numbers = by_writer[parts[part_].writer];
          numbers.push_back(number);
          is_full = numbers.size() == kMostParts;
        }
        for (; handover_ < all.size() && all[handover_].last_part <= number; ++handover_) {
          const Handover& handover = all[handover_];
          if (handover.group != Part::kDirect) continue;
          handovers.push_back(&handover);
          given[handover.from] += handover.end - handover.begin;
          received[handover.to] += handover.end - handover.begin;
          is_full = is_full || std::max(given[handover.from], received[handover.to]) > limit_bytes_;
        }
      }
      if (by_writer.empty()) throw py::stop_iteration();
      return py::make_tuple(plan_.Encode(by_writer), EncodeHandovers(handovers));
    }

   private:
    // Of one writer in a round, so that a message has some megabytes.
    static constexpr size_t kMostParts = 1 << 16;

    const ClusterPlan& plan_;
    const int64_t limit_bytes_;
    size_t part_ = 0;      // the next
    size_t handover_ = 0;  // the next
  };

  DirectRounds Direct(int64_t limit_bytes) const { return {*this, limit_bytes}; }

  py::dict GroupHandovers(int group) const {
    std::vector<const Handover*> handovers;
    for (const Handover& handover : blocks_.handovers) {
      if (handover.group == group) handovers.push_back(&handover);
    }
    return EncodeHandovers(handovers);
  }

  py::dict Given() const {
    std::map<int, std::vector<int64_t>> ranges;
    for (const Handover& handover : blocks_.handovers) {
      std::vector<int64_t>& of_task = ranges[handover.from];
      of_task.insert(of_task.end(), {handover.begin, handover.end});
    }
    return ByTask(ranges);
  }

  py::dict PagesToCheck(int64_t limit_bytes) const {
    std::map<int, std::vector<int64_t>> ranges;
    for (const WriterRun& page : autodist::PagesToCheck(blocks_.runs, limit_bytes)) {
      std::vector<int64_t>& of_task = ranges[page.writer];
      of_task.insert(of_task.end(), {page.begin, page.end});
    }
    return ByTask(ranges);
  }

  py::dict GroupSources(int group) const {
    std::map<int, std::map<int64_t, bool>> by_task;
    for (int index : groups_.at(group)) {
      for (const PartSource& source : parts_.parts[index].sources) {
        by_task[tasks_[source.source]][source.source] = true;
      }
    }
    py::dict result;
    for (const auto& [task, sources] : by_task) {
      std::vector<int64_t> numbers;
      for (const auto& [source, unused] : sources) numbers.push_back(source);
      result[py::int_(task)] = ToArray(numbers);
    }
    return result;
  }

  // By task that sends over a data connection: what it sends to the chief in a group.
  py::dict Streams(int group, const std::set<int>& tasks) const {
    struct Stream {
      std::vector<int64_t> numbers, parts, reads = {0};
    };
    std::map<int, Stream> streams;
    for (int index : groups_.at(group)) {
      const Part& part = parts_.parts[index];
      if (!IsStreamed(part, tasks)) continue;
      const PartSource& source = part.sources[0];
      Stream& stream = streams[tasks_[source.source]];
      stream.numbers.push_back(index);
      stream.parts.insert(stream.parts.end(),
                          {part.offset, part.size_bytes, plan_.tensors[part.tensor].dtype});
      ++stream.reads[0];
      stream.reads.insert(stream.reads.end(), {source.source, source.first, source.count});
    }
    py::dict result;
    for (const auto& [task, stream] : streams) {
      result[py::int_(task)] =
          py::make_tuple(ToArray(stream.numbers), ToArray(stream.parts), ToArray(stream.reads));
    }
    return result;
  }

  // By task: how many bytes it sends to the chief that could travel over a data connection.
  std::map<int, int64_t> StreamedBytes() const {
    const std::set<int> all(tasks_.begin(), tasks_.end());
    std::map<int, int64_t> bytes;
    for (const Part& part : parts_.parts) {
      if (IsStreamed(part, all)) bytes[tasks_[part.sources[0].source]] += part.size_bytes;
    }
    return bytes;
  }

  py::list Rounds(int group, int64_t round_bytes, const std::set<int>& streaming) const {
    std::vector<std::map<int, std::vector<int>>> rounds;
    std::map<int, std::pair<size_t, int64_t>> last;  // by writer: its last round, bytes in it
    for (int index : groups_.at(group)) {
      const Part& part = parts_.parts[index];
      if (IsStreamed(part, streaming)) continue;
      const auto [found, is_new] = last.emplace(part.writer, std::make_pair(0, 0));
      auto& [round, bytes] = found->second;
      if (!is_new && bytes + part.size_bytes > round_bytes) {
        ++round;
        bytes = 0;
      }
      bytes += part.size_bytes;
      if (round == rounds.size()) rounds.emplace_back();
      rounds[round][part.writer].push_back(index);
    }
    py::list result;
    for (const auto& round : rounds) result.append(Encode(round));
    return result;
  }

  // What the ops say of each part: its CRC, and its figures if there are more columns.
  using Sums = py::array_t<int64_t, py::array::c_style | py::array::forcecast>;

  py::bytes EncodedFigures(const Sums& sums) const {
    CheckRows(sums, 1 + Figures::kWords);
    std::vector<Figures> figures(plan_.tensors.size());
    for (size_t i = 0; i < parts_.parts.size(); ++i) {
      Join(FromWords(sums.data(i, 1)), &figures[parts_.parts[i].tensor]);
    }
    return py::bytes(EncodeFigures(plan_, TensorCrcs(sums), figures));
  }

  py::tuple Index(const Sums& sums) const {
    CheckRows(sums, 1);
    py::list keys, protos;
    VisitIndexEntries(plan_, parts_.extents, TensorCrcs(sums),
                      [&](absl::string_view key, const tensorflow::BundleEntryProto& entry) {
                        keys.append(py::bytes(key.data(), key.size()));
                        protos.append(py::bytes(entry.SerializeAsString()));
                      });
    return py::make_tuple(keys, protos);
  }

 private:
  static constexpr size_t kBatch = 4096;

  void CheckRows(const Sums& sums, int64_t least_columns) const {
    if (sums.ndim() == 2 && sums.shape(0) == part_count() && sums.shape(1) >= least_columns) return;
    throw StatusException(absl::InvalidArgumentError(
        absl::StrCat("the sums of ", part_count(), " parts are a matrix with as many rows and ",
                     least_columns, " columns or more")));
  }

  std::vector<uint32_t> TensorCrcs(const Sums& sums) const {
    std::vector<absl::crc32c_t> joined(plan_.tensors.size(), absl::crc32c_t{0});
    for (size_t i = 0; i < parts_.parts.size(); ++i) {
      const Part& part = parts_.parts[i];
      joined[part.tensor] = absl::ConcatCrc32c(
          joined[part.tensor], absl::crc32c_t{static_cast<uint32_t>(*sums.data(i, 0))},
          static_cast<size_t>(part.size_bytes));
    }
    std::vector<uint32_t> crcs;
    for (absl::crc32c_t crc : joined) crcs.push_back(static_cast<uint32_t>(crc));
    return crcs;
  }

  // One of the tuples that Python gives.
  SaveEntry TakeEntry(const py::handle& given, std::vector<int64_t>* encoded_bytes) {
    const auto fields = py::cast<py::tuple>(given);
    if (fields.size() != 7) throw py::value_error("an entry has 7 fields");
    SaveEntry entry;
    entry.name = py::cast<std::string>(fields[0]);
    entry.shape_and_slice = py::cast<std::string>(fields[1]);
    entry.aggregation = py::cast<std::string>(fields[2]);
    entry.source = static_cast<int>(tasks_.size());
    entry.dtype = static_cast<tensorflow::DataType>(py::cast<int>(fields[3]));
    for (const py::handle& dim : py::cast<py::tuple>(fields[4])) {
      Check(entry.shape.AddDimWithStatus(py::cast<int64_t>(dim)));
    }
    tasks_.push_back(py::cast<int>(fields[5]));
    encoded_bytes->push_back(py::cast<int64_t>(fields[6]));
    return entry;
  }

  static py::dict ByTask(const std::map<int, std::vector<int64_t>>& ranges) {
    py::dict result;
    for (const auto& [task, numbers] : ranges) result[py::int_(task)] = ToArray(numbers);
    return result;
  }

  // By receiver: the ranges that it writes, and by sender, in their order, the ranges that it
  // sends.
  static py::dict EncodeHandovers(const std::vector<const Handover*>& handovers) {
    std::map<int, std::map<int, std::vector<int64_t>>> by_receiver;
    for (const Handover* handover : handovers) {
      std::vector<int64_t>& ranges = by_receiver[handover->to][handover->from];
      ranges.insert(ranges.end(), {handover->begin, handover->end});
    }
    py::dict result;
    for (const auto& [receiver, by_sender] : by_receiver) {
      std::vector<int64_t> all;
      for (const auto& [sender, ranges] : by_sender) {
        all.insert(all.end(), ranges.begin(), ranges.end());
      }
      result[py::int_(receiver)] = py::make_tuple(ToArray(all), ByTask(by_sender));
    }
    return result;
  }

  // Whether the bytes of a part, as they stand in the file, are those of one source that one of
  // `tasks` sends to the chief.
  bool IsStreamed(const Part& part, const std::set<int>& tasks) const {
    if (part.group == Part::kDirect || part.writer != chief_ || part.sources.size() != 1) {
      return false;
    }
    const PartSource& source = part.sources[0];
    const int task = tasks_[source.source];
    return task != chief_ && tasks.count(task) > 0 && source.count == part.end - part.begin &&
           SavedElementBytes(plan_.tensors[part.tensor].dtype) != 0;
  }

  // The encoded size of each planned tensor of strings or variants.
  std::vector<int64_t> StreamBytes(const std::vector<int64_t>& encoded_bytes) const {
    std::vector<int64_t> sizes;
    for (const PlannedTensor& planned : plan_.tensors) {
      int64_t size = 0;
      if (SavedElementBytes(planned.dtype) == 0) {
        for (const PlannedShard& shard : planned.shards) size += encoded_bytes[shard.sources[0]];
        size -= static_cast<int64_t>(planned.shards.size() - 1) * kLengthsCrcBytes;
      }
      sizes.push_back(size);
    }
    return sizes;
  }

  // By writer: the numbers of its parts, the names of their variables, what it and others are told.
  py::dict Encode(const std::map<int, std::vector<int>>& by_writer) const {
    py::dict result;
    for (const auto& [writer, indices] : by_writer) {
      std::vector<const Part*> parts;
      py::list names;
      std::vector<int64_t> numbers(indices.begin(), indices.end());
      for (int index : indices) {
        parts.push_back(&parts_.parts[index]);
        names.append(py::bytes(plan_.tensors[parts.back()->tensor].name));
      }
      const EncodedParts encoded = EncodeParts(plan_, parts, tasks_);
      py::dict reads;
      for (const auto& [task, read] : encoded.read) reads[py::int_(task)] = ToArray(read);
      result[py::int_(writer)] =
          py::make_tuple(ToArray(numbers), names, ToArray(encoded.write), reads);
    }
    return result;
  }

  int chief_;
  std::vector<int> tasks_;  // by source
  SavePlan plan_;
  PartPlan parts_;
  SharedBlocks blocks_;
  std::vector<std::vector<int>> groups_;  // numbers of parts
};

}  // namespace

void RegisterClusterPlan(py::module_& module) {
  module.attr("FIGURES_WORDS") = Figures::kWords;
  module.def(
      "is_written_whole",
      [](int dtype, const std::string& layout, bool own_files) {
        absl::StatusOr<SaveLayout> parsed = ParseSaveLayout(layout);
        Check(parsed.status());
        return IsWrittenWhole(static_cast<tensorflow::DataType>(dtype), *parsed, own_files);
      },
      py::arg("dtype"), py::arg("layout"), py::kw_only(), py::arg("own_files"),
      R"doc(Whether a variable of several slices is written whole.

Args:
    dtype: As a number.
    layout: 'original', 'slices' or 'restorable', as in AutodistSave.
    own_files: Whether tasks that hold slices each write a data file of their own.)doc");
  py::class_<ClusterPlan::DirectRounds>(module, "DirectRounds", "See ClusterPlan.direct.")
      .def("__iter__", [](py::object self) { return self; })
      .def("__next__", &ClusterPlan::DirectRounds::Next);
  py::class_<ClusterPlan>(module, "ClusterPlan",
                          "Which task of a cluster writes which bytes of a checkpoint.")
      .def(py::init<const py::iterable&, const std::string&, int, const std::vector<bool>&, int64_t,
                    int64_t, int64_t>(),
           py::arg("entries"), py::arg("layout"), py::kw_only(), py::arg("chief"),
           py::arg("writers"), py::arg("part_bytes"), py::arg("group_bytes"),
           py::arg("block_bytes"),
           R"doc(Plans a save. Pure: reads no value and touches no file.

Args:
    entries: An iterable. Per source (name, shape_and_slice, aggregation, dtype as a number,
        shape, task, size of its encoding if it is strings or variants). Entries of one name and different slices are
        shards, of one name and slice replicas.
    layout: 'original', 'slices' or 'restorable', as in AutodistSave.
    chief: The number of the task that writes what no other can.
    writers: For each task whether it reaches the file.
    part_bytes: The size of a part that is sent, at most.
    group_bytes: Sources that a task keeps at a time while they are sent.
    block_bytes: Of the file, of which each block has one writer.

Raises:
    ValueError: The entries do not make whole variables; names the variable.)doc")
      .def_property_readonly("size_bytes", &ClusterPlan::size_bytes, "Of the data file.")
      .def_property_readonly("variable_count", &ClusterPlan::variable_count)
      .def_property_readonly("shard_count", &ClusterPlan::shard_count)
      .def_property_readonly("replica_count", &ClusterPlan::replica_count)
      .def_property_readonly("part_count", &ClusterPlan::part_count)
      .def_property_readonly("group_count", &ClusterPlan::group_count)
      .def_property_readonly("writer_count", &ClusterPlan::writer_count,
                             "How many tasks write to the file.")
      .def("direct", &ClusterPlan::Direct, py::arg("limit_bytes"), py::keep_alive<0, 1>(),
           "Iterates over rounds of what tasks write of their own. After each, a task keeps not "
           "much more than the limit for others. A round is by writer (parts, names, what it is "
           "told, {}), and what is handed over then, as group_handovers says.")
      .def("group_handovers", &ClusterPlan::GroupHandovers, py::arg("group"),
           "What a task writes of blocks whose bytes others have read in a group: by writer "
           "(ranges, "
           "and by sender its ranges, in this order).")
      .def("given", &ClusterPlan::Given,
           "The ranges that others write, by the task that reads them.")
      .def(
          "pages_to_check", &ClusterPlan::PagesToCheck, py::arg("limit_bytes"),
          "The ranges to read again after the save, by the task that writes them; none if there is "
          "one writer.")
      .def("group_sources", &ClusterPlan::GroupSources, py::arg("group"),
           "The sources of a group of parts that are sent, by task.")
      .def("streamed_bytes", &ClusterPlan::StreamedBytes,
           "By task, how many bytes it may send to the chief over a data connection.")
      .def("streams", &ClusterPlan::Streams, py::arg("group"), py::arg("tasks"),
           "What tasks with a data connection send to the chief in a group: by task (parts, what "
           "the chief is told, what the task is told).")
      .def("rounds", &ClusterPlan::Rounds, py::arg("group"), py::arg("round_bytes"),
           py::arg("streaming") = std::set<int>(),
           "The parts of a group in rounds, but for those that `streaming` tasks send over data "
           "connections: by writer (parts, names, what it is told, and by task what others are "
           "told).")
      .def("index", &ClusterPlan::Index, py::arg("sums"),
           "The keys and serialized entries of the index, from a matrix with a row for each part, "
           "which begins with its checksum.")
      .def("figures", &ClusterPlan::EncodedFigures, py::arg("sums"),
           "The figures of all tensors as cc/save/data/tensor_figures.h has them, from such a "
           "matrix whose rows have the figures of the part after the checksum.");
}

}  // namespace autodist
