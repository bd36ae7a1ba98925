// The inputs that the ops of a save of several tasks have in common.

#ifndef AUTODIST_OPS_SAVE_TASK_H_
#define AUTODIST_OPS_SAVE_TASK_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "tensorflow/core/framework/op_kernel.h"

namespace autodist {

// The id that is input 0, as this task knows it: several tasks may be in one process.
std::string SaveIdInput(tensorflow::OpKernelContext* context);

// A scalar of seconds.
std::chrono::seconds LeaseInput(tensorflow::OpKernelContext* context, int input);

// The elements of an int64 input.
std::vector<int64_t> NumbersInput(tensorflow::OpKernelContext* context, int input);

}  // namespace autodist

#endif  // AUTODIST_OPS_SAVE_TASK_H_
