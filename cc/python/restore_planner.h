// Plans of restores, for Python: which bytes of which file go where.

#ifndef AUTODIST_PYTHON_RESTORE_PLANNER_H_
#define AUTODIST_PYTHON_RESTORE_PLANNER_H_

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/boxes/runs.h"
#include "python/planned_arrays.h"

namespace autodist {

class RestorePlanner {
 public:
  // Adds what is wanted of one variable. Throws ValueError, naming it, if stored boxes overlap, a
  // box does not lie in the variable, or some of what is wanted is not stored.
  void Add(const std::string& name, const Dims& shape, int64_t element_bytes,
           const Integers& stored_starts, const Integers& stored_extents, const Integers& files,
           const Integers& offsets, const Integers& wanted_starts, const Integers& wanted_extents);

  // The columns of all transfers.
  pybind11::dict Transfers() const;

  // The runs of one transfer, as rows of: first byte in the file, first byte in the target, length.
  pybind11::array_t<int64_t> Runs(int64_t transfer) const;

  // What is read for some transfers, each byte once: rows of file, first byte, past the last.
  pybind11::array_t<int64_t> Reads(const Integers& transfers) const;

 private:
  struct Transfer {
    int variable;
    int piece;   // of the variable
    int target;  // of the variable
    int file;
    int64_t offset;  // of the piece in the file
    RunPlan runs;    // "output" is the piece, "source" the target
  };

  // Calls visit(first byte in the file, first byte in the target, bytes) for each run.
  template <typename Visitor>
  void VisitBytes(const Transfer& transfer, const Visitor& visit) const;

  std::vector<int64_t> element_bytes_;  // by variable
  std::vector<Transfer> transfers_;
};

}  // namespace autodist

#endif  // AUTODIST_PYTHON_RESTORE_PLANNER_H_
