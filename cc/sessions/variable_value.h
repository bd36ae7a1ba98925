// Whether a variable has a value, and whether a tensor's memory is its alone.

#ifndef AUTODIST_SESSIONS_VARIABLE_VALUE_H_
#define AUTODIST_SESSIONS_VARIABLE_VALUE_H_

#include "tensorflow/core/common_runtime/dma_helper.h"
#include "tensorflow/core/framework/resource_var.h"
#include "tensorflow/core/framework/tensor.h"

namespace autodist {

// REQUIRES: the variable's lock is held.
inline bool HasValue(tensorflow::Var& variable) {
  return variable.is_initialized && variable.tensor()->IsInitialized();
}

// Whether nothing but `tensor` leads to its bytes. Then whoever refers to them too keeps them as
// they are: TensorFlow updates memory in place only where there is one reference. What leads
// elsewhere may be a ref variable, which is updated in place all the same, or the NumPy array that
// was fed, whose memory TensorFlow shares with the program.
// REQUIRES: nobody assigns to `tensor` meanwhile.
inline bool IsOnlyReference(const tensorflow::Tensor& tensor) {
  if (!tensor.RefCountIsOne()) return false;
  // A part of a buffer does not tell whose memory the whole is.
  tensorflow::Tensor* const same = const_cast<tensorflow::Tensor*>(&tensor);
  return tensorflow::DMAHelper::buffer(same)->root_buffer()->OwnsMemory();
}

}  // namespace autodist

#endif  // AUTODIST_SESSIONS_VARIABLE_VALUE_H_
