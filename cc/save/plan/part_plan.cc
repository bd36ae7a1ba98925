// Which task writes which bytes of a checkpoint whose shards lie on several tasks of a cluster. The
// header tells how.

#include "save/plan/part_plan.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/boxes/runs.h"
#include "core/planning/balance.h"
#include "format/values/element_type.h"

namespace autodist {
namespace {

// How many elements of `box`, dense in row-major order, come before element `position` of a tensor
// of `shape`.
int64_t ElementsBefore(const Dims& shape, const Box& box, int64_t position) {
  const RunPlan runs(shape, box);
  if (position <= runs.first_output()) return 0;
  if (position >= runs.end_output()) return box.elements();
  return runs.FirstIn(position, runs.end_output()).source;
}

// Deals the parts of loads to tasks so that each writes what Balance() found for it.
//
// The parts of a load go to its tasks in turn, to each as often as its share says. So all tasks
// that write have work while a group of parts is on its way. What a task got too much of one load,
// it gets less of the next.
class Dealer {
 public:
  // Counts bytes that any of `tasks`, ascending and each once, may write. Returns their load.
  int Count(const std::vector<int>& tasks, int64_t size_bytes) {
    // Units that come one after the other often have the same tasks.
    if (last_ < 0 || loads_[last_].workers != tasks) {
      const auto [found, is_new] = numbers_.emplace(tasks, static_cast<int>(loads_.size()));
      if (is_new) loads_.push_back({0, tasks});
      last_ = found->second;
    }
    loads_[last_].size += size_bytes;
    return last_;
  }

  // Decides how much of each load a task shall write, once all are counted.
  void Share() {
    int count = 0;
    for (const Load& load : loads_) count = std::max(count, load.workers.back() + 1);
    shares_ = Balance(loads_, count);
    owed_.assign(count, 0);
  }

  // The task that writes the next part of a load.
  int Deal(int number, int64_t size_bytes) {
    const Load& load = loads_[number];
    const std::vector<int64_t>& shares = shares_[number];
    if (load.workers.size() == 1) return load.workers[0];
    int chosen = -1;
    for (size_t i = 0; i < load.workers.size(); ++i) {
      if (shares[i] == 0) continue;
      const int task = load.workers[i];
      owed_[task] +=
          static_cast<int64_t>(static_cast<__int128>(size_bytes) * shares[i] / load.size);
      if (chosen < 0 || owed_[task] > owed_[chosen]) chosen = task;
    }
    owed_[chosen] -= size_bytes;
    return chosen;
  }

 private:
  std::map<std::vector<int>, int> numbers_;  // of loads, by tasks
  std::vector<Load> loads_;
  int last_ = -1;                             // the load that was counted last
  std::vector<std::vector<int64_t>> shares_;  // by load
  // By task: bytes that its shares of the parts so far have, less those that it was given.
  std::vector<int64_t> owed_;
};

class PartPlanner {
 public:
  PartPlanner(const SavePlan& plan, const std::vector<int>& tasks, const PartOptions& options)
      : plan_(plan), tasks_(tasks), options_(options) {}

  void AddStream(int tensor, int64_t size_bytes) {
    FewNumbers shards(plan_.tensors[tensor].shards.size());
    for (size_t i = 0; i < shards.size(); ++i) shards[i] = static_cast<int>(i);
    Part part{tensor,        0,      0, result_.size_bytes, size_bytes, options_.chief,
              Part::kDirect, shards, {}};
    for (int source : SourcesOf(plan_.tensors[tensor], shards))
      part.sources.push_back({source, 0, 0});
    Append(std::move(part));
  }

  // Expects `count` units, each of one part or more.
  void Reserve(size_t count) {
    assigned_.reserve(count);
    result_.parts.reserve(count);
  }

  // Counts what is to be written, all of it before Share().
  void CountStream(int64_t size_bytes) { dealer_.Count({options_.chief}, size_bytes); }

  void CountUnit(const Unit& unit) {
    const std::vector<int> sources = SourcesOf(plan_.tensors[unit.tensor], unit.shards);
    assigned_.push_back(
        {dealer_.Count(WritersOf(sources), unit.size_bytes), DirectWriter(sources)});
  }

  void Share() { dealer_.Share(); }

  // REQUIRES: Share() was called, and units come as they were counted.
  void AddUnit(const Unit& unit) {
    const auto [load, direct_writer] = assigned_[next_unit_++];
    if (direct_writer >= 0) {
      AddPart(unit, unit.begin, unit.end, direct_writer, Part::kDirect);
      return;
    }
    const int group = GroupFor(unit);
    const int64_t element_bytes = SavedElementBytes(plan_.tensors[unit.tensor].dtype);
    const int64_t step = std::max<int64_t>(1, options_.part_bytes / element_bytes);
    for (int64_t begin = unit.begin, end; begin < unit.end; begin = end) {
      end = begin + step < unit.end ? LastWithBlock(unit, begin, begin + step, element_bytes)
                                    : unit.end;
      AddPart(unit, begin, end, dealer_.Deal(load, (end - begin) * element_bytes), group);
    }
  }

  PartPlan Finish(std::vector<Extent> extents) {
    result_.extents = std::move(extents);
    result_.group_count = group_ + 1;
    return std::move(result_);
  }

 private:
  // Who writes a unit.
  struct Assigned {
    int load;
    int direct_writer;  // or -1: the tasks of the load share it
  };

  // The task that has all of these sources and reaches the file, or -1.
  int DirectWriter(const std::vector<int>& sources) const {
    const int task = tasks_[sources[0]];
    for (int source : sources) {
      if (tasks_[source] != task) return -1;
    }
    return Writes(task) ? task : -1;
  }

  bool Writes(int task) const {
    return task == options_.chief ||
           (task < static_cast<int>(options_.writers.size()) && options_.writers[task]);
  }

  // The tasks that may write what these sources make: those that hold some of it and reach the
  // file; if none does, the chief. Ascending.
  std::vector<int> WritersOf(const std::vector<int>& sources) const {
    std::vector<int> writers;
    for (int source : sources) {
      if (Writes(tasks_[source])) writers.push_back(tasks_[source]);
    }
    if (writers.empty()) return {options_.chief};
    std::sort(writers.begin(), writers.end());
    writers.erase(std::unique(writers.begin(), writers.end()), writers.end());
    return writers;
  }

  // The end of a part of `unit` that ends at `end` or, where that is possible, with the last block
  // of the file before.
  int64_t LastWithBlock(const Unit& unit, int64_t begin, int64_t end, int64_t element_bytes) const {
    const int64_t end_offset = unit.offset + (end - unit.begin) * element_bytes;
    const int64_t block_end = end_offset - end_offset % options_.block_bytes;
    if (block_end <= unit.offset) return end;
    const int64_t aligned =
        unit.begin + (block_end - unit.offset + element_bytes - 1) / element_bytes;
    return aligned > begin ? aligned : end;
  }

  // The group that a unit goes to: the last, or a new one where a task would keep too much.
  int GroupFor(const Unit& unit) {
    const PlannedTensor& planned = plan_.tensors[unit.tensor];
    const int64_t element_bytes = SavedElementBytes(planned.dtype);
    std::map<int, int64_t> wanted;
    for (int index : unit.shards) {
      const PlannedShard& shard = planned.shards[index];
      for (int source : shard.sources) {
        wanted[tasks_[source]] += shard.box.elements() * element_bytes;
      }
    }
    bool fits = group_ >= 0;
    for (const auto& [task, bytes] : wanted) {
      fits = fits && kept_[task] + bytes <= options_.group_bytes;
    }
    if (!fits) {
      ++group_;
      kept_.clear();
    }
    for (const auto& [task, bytes] : wanted) kept_[task] += bytes;
    return group_;
  }

  void AddPart(const Unit& unit, int64_t begin, int64_t end, int writer, int group) {
    const PlannedTensor& planned = plan_.tensors[unit.tensor];
    const int64_t element_bytes = SavedElementBytes(planned.dtype);
    Part part{unit.tensor,
              begin,
              end,
              unit.offset + (begin - unit.begin) * element_bytes,
              (end - begin) * element_bytes,
              writer,
              group,
              {},
              {}};
    for (int index : unit.shards) {
      const PlannedShard& shard = planned.shards[index];
      const bool is_all = begin == unit.begin && end == unit.end;
      const int64_t first = is_all ? 0 : ElementsBefore(planned.shape, shard.box, begin);
      const int64_t last =
          is_all ? shard.box.elements() : ElementsBefore(planned.shape, shard.box, end);
      if (first == last) continue;
      part.shards.push_back(index);
      for (int source : shard.sources) part.sources.push_back({source, first, last - first});
    }
    Append(std::move(part));
  }

  void Append(Part part) {
    result_.size_bytes += part.size_bytes;
    result_.parts.push_back(std::move(part));
  }

  const SavePlan& plan_;
  const std::vector<int>& tasks_;
  const PartOptions options_;
  Dealer dealer_;
  std::vector<Assigned> assigned_;  // by unit
  size_t next_unit_ = 0;
  std::map<int, int64_t> kept_;  // bytes of sources in the last group, by task
  int group_ = -1;
  PartPlan result_;
};

}  // namespace

PartPlan PlanParts(const SavePlan& plan, const std::vector<int64_t>& stream_bytes,
                   const std::vector<int>& tasks, const PartOptions& options) {
  // Nothing is batched here.
  FilePlan file = PlanFile(plan, stream_bytes, 0);
  PartPlanner planner(plan, tasks, options);
  planner.Reserve(file.units.size());
  for (const Unit& unit : file.units) planner.CountUnit(unit);
  for (size_t tensor = 0; tensor < plan.tensors.size(); ++tensor) {
    if (SavedElementBytes(plan.tensors[tensor].dtype) == 0) {
      planner.CountStream(stream_bytes[tensor]);
    }
  }
  planner.Share();
  size_t unit = 0;
  for (size_t tensor = 0; tensor < plan.tensors.size(); ++tensor) {
    if (SavedElementBytes(plan.tensors[tensor].dtype) == 0) {
      planner.AddStream(static_cast<int>(tensor), stream_bytes[tensor]);
    }
    for (; unit < file.units.size() && file.units[unit].tensor == static_cast<int>(tensor);
         ++unit) {
      planner.AddUnit(file.units[unit]);
    }
  }
  return planner.Finish(std::move(file.extents));
}

}  // namespace autodist
