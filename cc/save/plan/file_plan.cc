// Plans which bytes go where in the data file, and divides them into units of work. The header
// tells how.

#include "save/plan/file_plan.h"

#include <utility>

#include "format/values/element_type.h"

namespace autodist {

void AddUnitJob(const Unit& unit, int index, int64_t block_bytes, std::vector<Job>* jobs) {
  Job* last = jobs->empty() ? nullptr : &jobs->back();
  if (unit.size_bytes > block_bytes) {
    jobs->push_back({Job::Kind::kBlocks, index, index + 1, unit.offset, unit.size_bytes});
  } else if (last != nullptr && last->kind == Job::Kind::kBatch &&
             last->offset + last->size_bytes == unit.offset &&
             last->size_bytes + unit.size_bytes <= block_bytes) {
    last->last = index + 1;
    last->size_bytes += unit.size_bytes;
  } else {
    jobs->push_back({Job::Kind::kBatch, index, index + 1, unit.offset, unit.size_bytes});
  }
}

FilePlan PlanFile(const SavePlan& plan, const std::vector<int64_t>& stream_bytes,
                  int64_t block_bytes) {
  FilePlan file;
  FileLayout layout;
  file.extents.reserve(plan.tensors.size());
  file.units.reserve(plan.tensors.size());
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const PlannedTensor& planned = plan.tensors[i];
    const int tensor = static_cast<int>(i);
    const int64_t element_bytes = SavedElementBytes(planned.dtype);
    if (element_bytes == 0) {
      file.jobs.push_back(
          {Job::Kind::kStream, tensor, tensor + 1, layout.size_bytes(), stream_bytes[i]});
      layout.AddStream(stream_bytes[i]);
      continue;
    }
    std::vector<Box> boxes;
    boxes.reserve(planned.shards.size());
    for (const PlannedShard& shard : planned.shards) boxes.push_back(shard.box);
    std::vector<FileSlab> slabs = layout.Add(planned.shape, element_bytes, boxes).value();
    for (auto& [slab, offset, size_bytes] : slabs) {
      Unit unit{tensor, slab.begin, slab.end,
                offset, size_bytes, {slab.boxes.begin(), slab.boxes.end()},
                {}};
      AddUnitJob(unit, static_cast<int>(file.units.size()), block_bytes, &file.jobs);
      file.units.push_back(std::move(unit));
    }
  }
  file.extents = layout.extents();
  file.size_bytes = layout.size_bytes();
  return file;
}

}  // namespace autodist
