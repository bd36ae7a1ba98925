// The base of the ops that read or write files; inputs that several of them have, and outputs.

#ifndef AUTODIST_OPS_TASK_OP_H_
#define AUTODIST_OPS_TASK_OP_H_

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/types.h"

namespace autodist {

// The id that is input 0, as this task knows it: several tasks may be in one process.
std::string SaveIdInput(tensorflow::OpKernelContext* context);

// A scalar of seconds.
std::chrono::seconds LeaseInput(tensorflow::OpKernelContext* context, int input);

// The elements of an int64 input.
std::vector<int64_t> NumbersInput(tensorflow::OpKernelContext* context, int input);

// Sets an output to a scalar of type `Element`.
template <typename Element>
void SetScalar(tensorflow::OpKernelContext* context, int output, Element value) {
  tensorflow::Tensor tensor(tensorflow::DataTypeToEnum<Element>::value,
                            tensorflow::TensorShape({}));
  tensor.scalar<Element>()() = std::move(value);
  context->set_output(output, tensor);
}

// Sets an output to a vector of type `Element`.
template <typename Element, typename Values>
void SetVector(tensorflow::OpKernelContext* context, int output, const Values& values) {
  tensorflow::Tensor tensor(tensorflow::DataTypeToEnum<Element>::value,
                            tensorflow::TensorShape({static_cast<int64_t>(values.size())}));
  std::copy(values.begin(), values.end(), tensor.flat<Element>().data());
  context->set_output(output, tensor);
}

// An op whose work is done on a thread of its own.
class TaskOp : public tensorflow::AsyncOpKernel {
 public:
  explicit TaskOp(tensorflow::OpKernelConstruction* context);

  void ComputeAsync(tensorflow::OpKernelContext* context, DoneCallback done) override;

 protected:
  // Computes the outputs. `cancelled` becomes true when TensorFlow cancels the op.
  virtual absl::Status Work(tensorflow::OpKernelContext* context,
                            const std::atomic<bool>& cancelled) = 0;

  int threads_ = 0;  // the attribute of that name, if there is one; 0: the machine decides
};

}  // namespace autodist

#endif  // AUTODIST_OPS_TASK_OP_H_
