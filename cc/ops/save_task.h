// What the ops of a save of several tasks have in common.

#ifndef AUTODIST_OPS_SAVE_TASK_H_
#define AUTODIST_OPS_SAVE_TASK_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace autodist {

// The id that is input 0, as this task knows it: several tasks may be in one process.
std::string SaveIdInput(tensorflow::OpKernelContext* context);

// A scalar of seconds.
std::chrono::seconds LeaseInput(tensorflow::OpKernelContext* context, int input);

// The elements of an int64 input.
std::vector<int64_t> NumbersInput(tensorflow::OpKernelContext* context, int input);

// An op whose work is done on a thread of its own.
class SaveTaskOp : public tensorflow::AsyncOpKernel {
 public:
  explicit SaveTaskOp(tensorflow::OpKernelConstruction* context) : AsyncOpKernel(context) {}

  void ComputeAsync(tensorflow::OpKernelContext* context, DoneCallback done) override;

 protected:
  virtual absl::Status Work(tensorflow::OpKernelContext* context) = 0;

  // Sets output 0.
  static void SetScalar(tensorflow::OpKernelContext* context, int64_t value);
  static void SetVector(tensorflow::OpKernelContext* context, const std::vector<int64_t>& values);
};

}  // namespace autodist

#endif  // AUTODIST_OPS_SAVE_TASK_H_
