// Outcomes of cc/tables as Python exceptions, in `autodist._tables`.

#ifndef AUTODIST_PYTHON_OUTCOME_EXCEPTIONS_H_
#define AUTODIST_PYTHON_OUTCOME_EXCEPTIONS_H_

#include <pybind11/pybind11.h>

#include <string>

#include "tables/outcome.h"

namespace autodist {

// Adds the types DamagedError and UnsupportedError. Once.
void AddOutcomeErrors(pybind11::module_* module);

// Raises what `outcome` says, unless it is good. OSErrors are of the subclass of their number, and
// have `path`.
void Check(const Outcome& outcome, const std::string& path);

}  // namespace autodist

#endif  // AUTODIST_PYTHON_OUTCOME_EXCEPTIONS_H_
