#include "python/restore_planner.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "core/boxes/tiling.h"
#include "core/planning/transfers.h"
#include "python/released_gil.h"

namespace py = pybind11;

namespace autodist {
namespace {

void CheckBoxes(const std::string& name, const Dims& shape, const std::vector<Box>& stored,
                const std::vector<Box>& wanted) {
  std::optional<std::string> problem = CheckDisjoint(shape, stored);
  if (problem) CheckPlan("variable '" + name + "': stored " + *problem);
  for (const Box& box : wanted) {
    problem = CheckInside(shape, box);
    if (problem) CheckPlan("variable '" + name + "': wanted: " + *problem);
  }
}

// Rows of three, as an array of shape [rows, 3].
py::array_t<int64_t> RowsOfThree(const std::vector<std::array<int64_t, 3>>& rows) {
  py::array_t<int64_t> array({static_cast<py::ssize_t>(rows.size()), py::ssize_t{3}});
  int64_t* out = array.mutable_data();
  for (const std::array<int64_t, 3>& row : rows) out = std::copy(row.begin(), row.end(), out);
  return array;
}

}  // namespace

void RestorePlanner::Add(const std::string& name, const Dims& shape, int64_t element_bytes,
                         const Integers& stored_starts, const Integers& stored_extents,
                         const Integers& files, const Integers& offsets,
                         const Integers& wanted_starts, const Integers& wanted_extents) {
  const int variable = static_cast<int>(element_bytes_.size());
  const int64_t* const file = files.data();
  const int64_t* const offset = offsets.data();
  const std::vector<Box> stored = BoxesOf(stored_starts, stored_extents);
  const std::vector<Box> wanted = BoxesOf(wanted_starts, wanted_extents);
  std::optional<std::string> missing;
  {
    const ReleasedGil released;
    CheckBoxes(name, shape, stored, wanted);
    missing = PlanTransfers(stored, wanted, [&](int piece, int target, RunPlan runs) {
      transfers_.push_back(
          {variable, piece, target, static_cast<int>(file[piece]), offset[piece], std::move(runs)});
    });
  }
  if (missing) CheckPlan("variable '" + name + "': " + *missing);
  element_bytes_.push_back(element_bytes);
}

template <typename Visitor>
void RestorePlanner::VisitBytes(const Transfer& transfer, const Visitor& visit) const {
  const int64_t element_bytes = element_bytes_[transfer.variable];
  transfer.runs.Visit(0, transfer.runs.end_output(), [&](const Run& run) {
    visit(transfer.offset + run.output * element_bytes, run.source * element_bytes,
          run.count * element_bytes);
  });
}

py::dict RestorePlanner::Transfers() const {
  py::dict arrays;
  const auto of = [this](const Transfer& t) { return element_bytes_[t.variable]; };
  arrays["variable"] = Column<int32_t>(transfers_, [](const Transfer& t) { return t.variable; });
  arrays["piece"] = Column<int32_t>(transfers_, [](const Transfer& t) { return t.piece; });
  arrays["target"] = Column<int32_t>(transfers_, [](const Transfer& t) { return t.target; });
  arrays["file"] = Column<int32_t>(transfers_, [](const Transfer& t) { return t.file; });
  arrays["begin"] = Column<int64_t>(
      transfers_, [&of](const Transfer& t) { return t.offset + t.runs.first_output() * of(t); });
  arrays["end"] = Column<int64_t>(
      transfers_, [&of](const Transfer& t) { return t.offset + t.runs.end_output() * of(t); });
  arrays["size_bytes"] =
      Column<int64_t>(transfers_, [&of](const Transfer& t) { return t.runs.elements() * of(t); });
  return arrays;
}

py::array_t<int64_t> RestorePlanner::Runs(int64_t transfer) const {
  std::vector<std::array<int64_t, 3>> rows;
  VisitBytes(transfers_.at(transfer), [&rows](int64_t file_begin, int64_t begin, int64_t size) {
    rows.push_back({file_begin, begin, size});
  });
  return RowsOfThree(rows);
}

py::array_t<int64_t> RestorePlanner::Reads(const Integers& transfers) const {
  std::vector<std::array<int64_t, 3>> reads;
  for (py::ssize_t i = 0; i < transfers.size(); ++i) {
    const Transfer& transfer = transfers_.at(transfers.data()[i]);
    VisitBytes(transfer, [&](int64_t begin, int64_t, int64_t size) {
      std::array<int64_t, 3>* last = reads.empty() ? nullptr : &reads.back();
      if (last != nullptr && (*last)[0] == transfer.file && (*last)[2] == begin) {
        (*last)[2] += size;
      } else {
        reads.push_back({transfer.file, begin, begin + size});
      }
    });
  }
  std::sort(reads.begin(), reads.end());
  size_t kept = 0;
  for (size_t i = 0; i < reads.size(); ++i) {
    if (kept > 0 && reads[kept - 1][0] == reads[i][0] && reads[i][1] <= reads[kept - 1][2]) {
      reads[kept - 1][2] = std::max(reads[kept - 1][2], reads[i][2]);
    } else {
      reads[kept++] = reads[i];
    }
  }
  reads.resize(kept);
  return RowsOfThree(reads);
}

}  // namespace autodist
