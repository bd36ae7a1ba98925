// See the header for the idea.

#include "save/plan/file_plan.h"

#include <utility>

#include "core/boxes/slabs.h"
#include "format/values/element_type.h"

namespace autodist {
namespace {

// Appends units and jobs at the end of the file.
class FilePlanner {
 public:
  explicit FilePlanner(int64_t block_bytes) : block_bytes_(block_bytes) {}

  void AddStream(int tensor, int64_t size_bytes) {
    plan_.extents.push_back({plan_.size_bytes, size_bytes});
    plan_.jobs.push_back({Job::Kind::kStream, tensor, tensor + 1, plan_.size_bytes, size_bytes});
    plan_.size_bytes += size_bytes;
  }

  void AddUnits(int tensor, const PlannedTensor& planned) {
    const int64_t element_bytes = SavedElementBytes(planned.dtype);
    const int64_t offset = plan_.size_bytes;
    std::vector<Box> boxes;
    boxes.reserve(planned.shards.size());
    for (const PlannedShard& shard : planned.shards) boxes.push_back(shard.box);
    for (Slab& slab : PlanSlabs(planned.shape, boxes)) {
      AddUnit({tensor,
               slab.begin,
               slab.end,
               offset + slab.begin * element_bytes,
               (slab.end - slab.begin) * element_bytes,
               std::move(slab.boxes),
               {}});
    }
    plan_.extents.push_back({offset, plan_.size_bytes - offset});
  }

  FilePlan Finish() { return std::move(plan_); }

 private:
  void AddUnit(Unit unit) {
    AddUnitJob(unit, static_cast<int>(plan_.units.size()), block_bytes_, &plan_.jobs);
    plan_.size_bytes += unit.size_bytes;
    plan_.units.push_back(std::move(unit));
  }

  const int64_t block_bytes_;
  FilePlan plan_;
};

}  // namespace

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
  FilePlanner planner(block_bytes);
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    if (SavedElementBytes(plan.tensors[i].dtype) == 0) {
      planner.AddStream(static_cast<int>(i), stream_bytes[i]);
    } else {
      planner.AddUnits(static_cast<int>(i), plan.tensors[i]);
    }
  }
  return planner.Finish();
}

}  // namespace autodist
