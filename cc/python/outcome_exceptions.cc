// Outcomes of cc/tables as Python exceptions.

#include "python/outcome_exceptions.h"

#include <new>

namespace py = pybind11;

namespace autodist {
namespace {

// Owned by the module and never released.
PyObject* damaged_error = nullptr;
PyObject* unsupported_error = nullptr;

}  // namespace

void AddOutcomeErrors(py::module_* module) {
  damaged_error = py::exception<void>(*module, "DamagedError", PyExc_RuntimeError).release().ptr();
  unsupported_error =
      py::exception<void>(*module, "UnsupportedError", PyExc_RuntimeError).release().ptr();
}

void Check(const Outcome& outcome, const std::string& path) {
  if (outcome.is_good()) return;
  switch (outcome.kind()) {
    case OutcomeKind::kUnreadable:
      PyErr_SetObject(PyExc_OSError,
                      py::make_tuple(outcome.error_number(), outcome.text(),
                                     py::module_::import("os").attr("fsdecode")(py::bytes(path)))
                          .ptr());
      throw py::error_already_set();
    case OutcomeKind::kNoMemory:
      throw std::bad_alloc();
    case OutcomeKind::kUnsupported:
      PyErr_SetString(unsupported_error, outcome.text().c_str());
      throw py::error_already_set();
    default:
      PyErr_SetString(damaged_error, outcome.text().c_str());
      throw py::error_already_set();
  }
}

}  // namespace autodist
