// The part of `autodist._tables` that writes: indexes, and copies of tensors' bytes.

#ifndef AUTODIST_PYTHON_TABLE_WRITING_H_
#define AUTODIST_PYTHON_TABLE_WRITING_H_

#include <pybind11/pybind11.h>

namespace autodist {

void AddTableWriting(pybind11::module_* module);

}  // namespace autodist

#endif  // AUTODIST_PYTHON_TABLE_WRITING_H_
