#include "ops/task_op.h"

#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ops/kernel_inputs.h"
#include "tensorflow/core/util/device_name_utils.h"

namespace autodist {

std::string SaveIdInput(tensorflow::OpKernelContext* context) {
  const std::string id(context->input(0).flat<tensorflow::tstring>()(0));
  std::string task, device;
  if (!tensorflow::DeviceNameUtils::SplitDeviceName(context->device()->name(), &task, &device)) {
    return id;
  }
  return absl::StrCat(id, " on ", task);
}

std::chrono::seconds LeaseInput(tensorflow::OpKernelContext* context, int input) {
  return std::chrono::seconds(context->input(input).flat<int64_t>()(0));
}

std::vector<int64_t> NumbersInput(tensorflow::OpKernelContext* context, int input) {
  const auto numbers = context->input(input).flat<int64_t>();
  return std::vector<int64_t>(numbers.data(), numbers.data() + numbers.size());
}

TaskOp::TaskOp(tensorflow::OpKernelConstruction* context) : AsyncOpKernel(context) {
  if (context->HasAttr("threads")) OP_REQUIRES_OK(context, context->GetAttr("threads", &threads_));
}

void TaskOp::ComputeAsync(tensorflow::OpKernelContext* context, DoneCallback done) {
  RunOnOwnThread(
      context,
      [this, context](const std::atomic<bool>& cancelled) { return Work(context, cancelled); },
      std::move(done));
}

}  // namespace autodist
