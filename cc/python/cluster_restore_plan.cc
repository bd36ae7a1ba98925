// `_bundle.ClusterRestorePlan`: which task of a cluster reads and takes which bytes of a
// checkpoint. See restore/restore_ranges.h for the idea.

#include "python/cluster_restore_plan.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "format/reader/bundle_reader.h"
#include "python/planned_arrays.h"
#include "python/released_gil.h"
#include "python/status_exceptions.h"
#include "restore/restore_part.h"
#include "restore/restore_plan.h"
#include "restore/restore_ranges.h"

namespace py = pybind11;

namespace autodist {
namespace {

using Numbers = std::vector<int64_t>;

class ClusterRestorePlan {
 public:
  using Entry = std::tuple<std::string, std::string, int, int, int>;

  ClusterRestorePlan(std::string prefix, const IndexRows& rows, const std::vector<Entry>& entries,
                     int task_count)
      : prefix_(std::move(prefix)), number_in_part_(task_count) {
    std::vector<RestoreEntry> wanted;
    std::vector<TargetPlace> places;
    for (const auto& [name, slice, dtype, task, number_in_task] : entries) {
      const int number = static_cast<int>(wanted.size());
      wanted.push_back({name, slice, static_cast<tensorflow::DataType>(dtype), number, 1});
      options_.tasks.push_back(task);
      (void)number_in_part_.at(task);
      places.push_back({task, number_in_task});
    }
    const ReleasedGil released;
    absl::StatusOr<BundleIndex> index = ParseBundleIndex(rows);
    Check(index.status());
    index_ = *std::move(index);
    absl::StatusOr<RestorePlan> plan = BuildRestorePlan(index_, wanted);
    Check(plan.status());
    plan_ = *std::move(plan);
    parts_ = EncodeParts(index_, plan_, places, task_count);
    for (int task = 0; task < task_count; ++task) {
      for (const int entry : parts_[task].entries) {
        std::unordered_map<int, int>& numbers = number_in_part_[task];
        numbers.emplace(entry, static_cast<int>(numbers.size()));
      }
    }
  }

  py::tuple PartOf(int task) const {
    const EncodedPart& part = parts_.at(task);
    py::list names;
    for (const std::string& name : part.names) names.append(py::bytes(name));
    return py::make_tuple(ToArray(part.numbers), names);
  }

  void Share(const std::vector<bool>& live, const std::vector<bool>& readers, bool verify_first,
             int64_t segment_bytes) {
    const ReleasedGil released;
    options_.live = live;
    options_.readers = readers;
    options_.verify_first = verify_first;
    options_.segment_bytes = segment_bytes;
    ranges_ = PlanRestoreRanges(index_, plan_, options_);
    sums_.emplace(&index_, &ranges_.segments, prefix_);
  }

  int64_t size_bytes() const {
    int64_t size = 0;
    for (const Group& group : plan_.groups) size += group.size_bytes;
    return size;
  }
  int64_t moved_bytes() const {
    int64_t size = 0;
    for (const TaskSegments* by_task : {&ranges_.checks, &ranges_.fresh, &ranges_.live}) {
      for (const std::vector<int>& numbers : *by_task) {
        for (const int number : numbers) {
          size += ranges_.segments[number].end - ranges_.segments[number].begin;
        }
      }
    }
    return size;
  }
  int64_t variable_count() const { return static_cast<int64_t>(plan_.groups.size()); }

  py::dict Checks() const {
    py::dict result;
    for (size_t task = 0; task < ranges_.checks.size(); ++task) {
      const std::vector<int>& segments = ranges_.checks[task];
      if (segments.empty()) continue;
      Numbers numbers, reads;
      for (const int segment : segments) AddRead(segment, &numbers, &reads);
      result[py::int_(task)] =
          py::make_tuple(ToArray(std::move(numbers)), ToArray(std::move(reads)));
    }
    return result;
  }

  py::dict Direct(bool live) const {
    const TaskSegments& taken = live ? ranges_.live : ranges_.fresh;
    py::dict result;
    for (size_t task = 0; task < taken.size(); ++task) {
      if (taken[task].empty() || !options_.readers[task]) continue;
      Numbers numbers, fills;
      for (const int segment : taken[task]) AddFill(task, segment, &numbers, &fills);
      result[py::int_(task)] =
          py::make_tuple(ToArray(std::move(numbers)), ToArray(std::move(fills)));
    }
    return result;
  }

  // By task: how many bytes it is sent, before and after the check.
  std::map<int, int64_t> SentBytes() const {
    std::map<int, int64_t> bytes;
    for (const TaskSegments* taken : {&ranges_.fresh, &ranges_.live}) {
      for (size_t task = 0; task < taken->size(); ++task) {
        if (options_.readers[task]) continue;
        for (const int number : (*taken)[task]) {
          const Segment& segment = ranges_.segments[number];
          bytes[static_cast<int>(task)] += segment.end - segment.begin;
        }
      }
    }
    return bytes;
  }

  py::dict Streams(bool live, const std::set<int>& tasks) const {
    const TaskSegments& taken = live ? ranges_.live : ranges_.fresh;
    py::dict result;
    for (const int task : tasks) {
      if (options_.readers[task] || taken[task].empty()) continue;
      Numbers numbers, fills, reads, ignored;
      for (const int segment : taken[task]) {
        AddFill(task, segment, &numbers, &fills);
        AddRead(segment, &ignored, &reads);
      }
      result[py::int_(task)] = py::make_tuple(ToArray(std::move(numbers)),
                                              ToArray(std::move(fills)), ToArray(std::move(reads)));
    }
    return result;
  }

  py::list Rounds(bool live, int64_t round_bytes, const std::set<int>& streaming) const {
    const TaskSegments& taken = live ? ranges_.live : ranges_.fresh;
    // Of each task what it is sent at once; the tasks take turns.
    std::vector<std::vector<py::tuple>> sent(taken.size());
    size_t most = 0;
    for (size_t task = 0; task < taken.size(); ++task) {
      if (options_.readers[task] || streaming.count(static_cast<int>(task)) > 0) continue;
      Numbers numbers, fills, reads, ignored;
      int64_t bytes = 0;
      const auto send = [&] {
        sent[task].push_back(py::make_tuple(py::int_(task), ToArray(std::exchange(numbers, {})),
                                            ToArray(std::exchange(fills, {})),
                                            ToArray(std::exchange(reads, {}))));
        bytes = 0;
      };
      for (const int segment : taken[task]) {
        const int64_t size = ranges_.segments[segment].end - ranges_.segments[segment].begin;
        if (bytes > 0 && bytes + size > round_bytes) send();
        AddFill(task, segment, &numbers, &fills);
        AddRead(segment, &ignored, &reads);
        bytes += size;
      }
      if (bytes > 0) send();
      most = std::max(most, sent[task].size());
    }
    py::list rounds;
    for (size_t turn = 0; turn < most; ++turn) {
      for (const std::vector<py::tuple>& of_task : sent) {
        if (turn < of_task.size()) rounds.append(of_task[turn]);
      }
    }
    return rounds;
  }

  void AddSums(const Numbers& numbers, const Numbers& crcs) { Check(sums_->Add(numbers, crcs)); }
  void Verify() const { Check(sums_->Verify()); }

 private:
  void AddRead(int number, Numbers* numbers, Numbers* reads) const {
    const Segment& segment = ranges_.segments[number];
    const BundleEntry& entry = index_.entries[segment.entry];
    numbers->push_back(number);
    reads->insert(reads->end(),
                  {entry.shard_id, entry.offset + segment.begin, segment.end - segment.begin});
  }

  void AddFill(size_t task, int number, Numbers* numbers, Numbers* fills) const {
    const Segment& segment = ranges_.segments[number];
    numbers->push_back(number);
    fills->insert(fills->end(),
                  {number_in_part_[task].at(segment.entry), segment.begin, segment.end});
  }

  const std::string prefix_;
  BundleIndex index_;
  RestorePlan plan_;
  std::vector<EncodedPart> parts_;  // by task
  // By task, of each entry of the index that it takes: its number in the part.
  std::vector<std::unordered_map<int, int>> number_in_part_;
  RangeOptions options_;
  RestoreRanges ranges_;
  std::optional<SegmentSums> sums_;
};

}  // namespace

void RegisterClusterRestorePlan(py::module_& module) {
  py::class_<ClusterRestorePlan>(
      module, "ClusterRestorePlan",
      "Which task of a cluster reads and takes which bytes of a checkpoint.")
      .def(py::init<std::string, const IndexRows&, const std::vector<ClusterRestorePlan::Entry>&,
                    int>(),
           py::arg("prefix"), py::arg("rows"), py::arg("entries"), py::arg("task_count"),
           R"doc(Finds what is restored in an index. Pure: touches no file.

Args:
    prefix: The checkpoint's, for messages.
    rows: The keys and values of its index, the header's first.
    entries: Per target (name, shape_and_slice, dtype as a number, task, number among the targets of
        that task); no strings or variants.
    task_count: How many tasks there are; the first reads the files.

Raises:
    FileNotFoundError: Names are not in the checkpoint; lists all.
    ValueError: Another dtype or full shape than wanted; lists all.
    DataLossError: The index contradicts itself.)doc")
      .def_property_readonly("size_bytes", &ClusterRestorePlan::size_bytes, "Of what is read.")
      .def_property_readonly("moved_bytes", &ClusterRestorePlan::moved_bytes,
                             "Of what all tasks sum or fill, once it is shared out.")
      .def_property_readonly("variable_count", &ClusterRestorePlan::variable_count)
      .def("part", &ClusterRestorePlan::PartOf, py::arg("task"),
           "What AutodistJoinRestore is told on a task: `part` and `names`.")
      .def("share", &ClusterRestorePlan::Share, py::kw_only(), py::arg("live"), py::arg("readers"),
           py::arg("verify_first"), py::arg("segment_bytes"),
           R"doc(Shares out what there is to do; once.

Args:
    live: For each target whether it has a value.
    readers: For each task whether it reads the files.
    verify_first: Whether what live targets take is summed before.
    segment_bytes: The size of what is sent as one, at most.)doc")
      .def("checks", &ClusterRestorePlan::Checks,
           "What is only summed: by task (segments, ranges of files).")
      .def("direct", &ClusterRestorePlan::Direct, py::arg("live"),
           "What tasks read for themselves: by task (segments, ranges of entries).")
      .def("sent_bytes", &ClusterRestorePlan::SentBytes, "By task, how many bytes it is sent.")
      .def("streams", &ClusterRestorePlan::Streams, py::arg("live"), py::arg("tasks"),
           "What is sent to tasks with a data connection: by task (segments, ranges of entries, "
           "ranges of files).")
      .def("rounds", &ClusterRestorePlan::Rounds, py::arg("live"), py::arg("round_bytes"),
           py::arg("streaming") = std::set<int>(),
           "What is sent to all other tasks: (task, segments, ranges of entries, ranges of files).")
      .def("add_sums", &ClusterRestorePlan::AddSums, py::arg("segments"), py::arg("crcs"),
           "Notes the sums of segments; DataLossError if another was found before.")
      .def("verify", &ClusterRestorePlan::Verify,
           "Raises DataLossError, naming tensor, file and bytes, unless all sums are the stored "
           "ones.");
}

}  // namespace autodist
