// `autodist._planning`: plans of saves and restores as arrays. `autodist/planning.py` is what
// others use; it needs neither TensorFlow nor a disk.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/planning/balance.h"
#include "core/planning/writers.h"
#include "python/planned_arrays.h"
#include "python/released_gil.h"
#include "python/restore_planner.h"

namespace py = pybind11;

namespace autodist {
namespace {

class SavePlanner {
 public:
  void Add(std::string name, Dims shape, int64_t element_bytes, const Integers& starts,
           const Integers& extents, const Integers& first_holders, const Integers& holders) {
    HeldTensor tensor{
        std::move(name), std::move(shape), element_bytes, BoxesOf(starts, extents), {}, {}};
    tensor.first_holder.assign(first_holders.data(), first_holders.data() + first_holders.size());
    tensor.holders.assign(holders.data(), holders.data() + holders.size());
    tensors_.push_back(std::move(tensor));
  }

  py::dict Plan(int device_count) {
    WritePlan plan;
    std::optional<std::string> problem;
    {
      const ReleasedGil released;
      problem = PlanWriters(std::exchange(tensors_, {}), device_count, &plan);
    }
    CheckPlan(problem);
    py::dict arrays;
    arrays["offsets"] = ToArray(std::move(plan.offsets));
    arrays["writer_bytes"] = ToArray(std::move(plan.writer_bytes));
    const std::vector<WriteUnit>& units = plan.units;
    arrays["variable"] = Column<int32_t>(units, [](const WriteUnit& unit) { return unit.tensor; });
    arrays["writer"] = Column<int32_t>(units, [](const WriteUnit& unit) { return unit.writer; });
    arrays["begin"] = Column<int64_t>(units, [](const WriteUnit& unit) { return unit.begin; });
    arrays["end"] = Column<int64_t>(units, [](const WriteUnit& unit) { return unit.end; });
    arrays["first_shard"] =
        Column<int64_t>(units, [](const WriteUnit& unit) { return unit.first_shard; });
    arrays["last_shard"] =
        Column<int64_t>(units, [](const WriteUnit& unit) { return unit.last_shard; });
    arrays["shards"] = ToArray(std::move(plan.shards));
    return arrays;
  }

 private:
  std::vector<HeldTensor> tensors_;
};

std::vector<int> ChooseWriters(const std::vector<int64_t>& sizes,
                               const std::vector<std::vector<int>>& holders, int device_count) {
  std::vector<Load> loads;
  loads.reserve(sizes.size());
  for (size_t i = 0; i < sizes.size(); ++i) loads.push_back({sizes[i], holders.at(i)});
  for (size_t i = 0; i < loads.size(); ++i) {
    const std::vector<int>& devices = loads[i].workers;
    if (!devices.empty() && std::all_of(devices.begin(), devices.end(), [&](int device) {
          return device >= 0 && device < device_count;
        })) {
      continue;
    }
    throw py::value_error("value " + std::to_string(i) + " has no holders, or others than the " +
                          std::to_string(device_count) + " devices");
  }
  return AssignWhole(loads, device_count);
}

}  // namespace
}  // namespace autodist

PYBIND11_MODULE(_planning, module) {
  module.doc() = "Plans of saves and restores, as arrays; see autodist.planning.";
  py::class_<autodist::SavePlanner>(module, "SavePlanner")
      .def(py::init())
      .def("add", &autodist::SavePlanner::Add)
      .def("plan", &autodist::SavePlanner::Plan);
  module.def("choose_writers", &autodist::ChooseWriters);
  py::class_<autodist::RestorePlanner>(module, "RestorePlanner")
      .def(py::init())
      .def("add", &autodist::RestorePlanner::Add)
      .def("transfers", &autodist::RestorePlanner::Transfers)
      .def("runs", &autodist::RestorePlanner::Runs)
      .def("reads", &autodist::RestorePlanner::Reads);
}
