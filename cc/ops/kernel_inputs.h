// What the kernels of saves and restores have in common.

#ifndef AUTODIST_OPS_KERNEL_INPUTS_H_
#define AUTODIST_OPS_KERNEL_INPUTS_H_

#include <atomic>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "sessions/pinned_variables.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "threads/guarded.h"

namespace autodist {

// The only element of an input.
absl::StatusOr<std::string> PrefixInput(const tensorflow::Tensor& tensor);

// The elements of an input that has `count` of them; they live as long as the input.
absl::StatusOr<absl::Span<const tensorflow::tstring>> StringVector(const tensorflow::Tensor& tensor,
                                                                   absl::string_view what,
                                                                   size_t count);

// The variables of an input that comes from AutodistPinVariables.
absl::StatusOr<const PinnedVariables*> PinsInput(tensorflow::OpKernelContext* context, int input);

// Calls `work` on a thread of its own, then `done` with the status of `work` in the context. If no
// thread can be started, the calling thread does the work. What `work` throws becomes its status.
// The flag that it is given becomes true when the step is cancelled. (Saves and restores wait for
// locks and disks, and the inter-op threads are few.)
void RunOnOwnThread(tensorflow::OpKernelContext* context,
                    std::function<absl::Status(const std::atomic<bool>& cancelled)> work,
                    tensorflow::AsyncOpKernel::DoneCallback done);

// Does a kernel's work in this thread; what it throws becomes the status of the context.
template <typename Function>
void WithinMemory(tensorflow::OpKernelContext* context, const Function& work) {
  const absl::Status status = Guarded([&] {
    work();
    return absl::OkStatus();
  });
  if (!status.ok()) context->SetStatus(status);
}

}  // namespace autodist

#endif  // AUTODIST_OPS_KERNEL_INPUTS_H_
