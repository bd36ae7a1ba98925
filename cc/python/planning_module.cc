// `autodist._planning`: plans of saves and restores as arrays. `autodist/planning.py` is what
// others use; it needs neither TensorFlow nor a disk.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/box.h"
#include "core/writers.h"

namespace py = pybind11;

namespace autodist {
namespace {

using Integers = py::array_t<int64_t, py::array::c_style | py::array::forcecast>;

// `values` as an array; it takes over the memory.
template <typename T>
py::array_t<T> ToArray(std::vector<T> values) {
  auto* const owned = new std::vector<T>(std::move(values));
  const py::capsule owner(owned, [](void* vector) { delete static_cast<std::vector<T>*>(vector); });
  return py::array_t<T>(static_cast<py::ssize_t>(owned->size()), owned->data(), owner);
}

template <typename T, typename Item, typename Get>
py::array_t<T> Column(const std::vector<Item>& items, const Get& get) {
  py::array_t<T> column(static_cast<py::ssize_t>(items.size()));
  T* const out = column.mutable_data();
  for (size_t i = 0; i < items.size(); ++i) out[i] = static_cast<T>(get(items[i]));
  return column;
}

// The rows of `starts` and `extents`, each of shape [boxes, rank].
std::vector<Box> Boxes(const Integers& starts, const Integers& extents) {
  const py::ssize_t rank = starts.shape(1);
  std::vector<Box> boxes;
  boxes.reserve(starts.shape(0));
  for (py::ssize_t i = 0; i < starts.shape(0); ++i) {
    const int64_t* const start = starts.data() + i * rank;
    const int64_t* const extent = extents.data() + i * rank;
    boxes.push_back(Box{Dims(start, start + rank), Dims(extent, extent + rank)});
  }
  return boxes;
}

void Check(const std::optional<std::string>& problem) {
  if (problem.has_value()) throw py::value_error(*problem);
}

class SavePlanner {
 public:
  void Add(std::string name, Dims shape, int64_t element_bytes, const Integers& starts,
           const Integers& extents, const Integers& first_holders, const Integers& holders) {
    HeldTensor tensor{
        std::move(name), std::move(shape), element_bytes, Boxes(starts, extents), {}, {}};
    tensor.first_holder.assign(first_holders.data(), first_holders.data() + first_holders.size());
    tensor.holders.assign(holders.data(), holders.data() + holders.size());
    tensors_.push_back(std::move(tensor));
  }

  py::dict Plan(int device_count) {
    WritePlan plan;
    {
      const py::gil_scoped_release release;
      Check(PlanWriters(std::exchange(tensors_, {}), device_count, &plan));
    }
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

}  // namespace
}  // namespace autodist

PYBIND11_MODULE(_planning, module) {
  module.doc() = "Plans of saves and restores, as arrays; see autodist.planning.";
  py::class_<autodist::SavePlanner>(module, "SavePlanner")
      .def(py::init())
      .def("add", &autodist::SavePlanner::Add)
      .def("plan", &autodist::SavePlanner::Plan);
}
