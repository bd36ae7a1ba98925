// Whether a variable has a value.

#ifndef AUTODIST_SESSIONS_VARIABLE_VALUE_H_
#define AUTODIST_SESSIONS_VARIABLE_VALUE_H_

#include "tensorflow/core/framework/resource_var.h"

namespace autodist {

// REQUIRES: the variable's lock is held.
inline bool HasValue(tensorflow::Var& variable) {
  return variable.is_initialized && variable.tensor()->IsInitialized();
}

}  // namespace autodist

#endif  // AUTODIST_SESSIONS_VARIABLE_VALUE_H_
