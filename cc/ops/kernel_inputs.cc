#include "ops/kernel_inputs.h"

#include <memory>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "bundle/final_status.h"
#include "tensorflow/core/framework/cancellation.h"
#include "tensorflow/core/framework/variant.h"
#include "tensorflow/core/platform/env.h"

namespace autodist {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;

namespace {

template <typename Function>
absl::Status WithinMemory(const OpKernelContext& context, const Function& work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for ", context.op_kernel().name()));
  }
}

}  // namespace

absl::StatusOr<std::string> PrefixInput(const Tensor& tensor) {
  if (tensor.NumElements() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("prefix must have one element, has the shape ", tensor.shape().DebugString()));
  }
  return std::string(tensor.flat<tensorflow::tstring>()(0));
}

absl::StatusOr<absl::Span<const tensorflow::tstring>> StringVector(const Tensor& tensor,
                                                                   absl::string_view what,
                                                                   size_t count) {
  if (tensor.dims() != 1 || static_cast<size_t>(tensor.NumElements()) != count) {
    return absl::InvalidArgumentError(absl::StrCat("there are ", count, " entries but ", what,
                                                   " has the shape ",
                                                   tensor.shape().DebugString()));
  }
  return absl::MakeConstSpan(tensor.vec<tensorflow::tstring>().data(), count);
}

absl::StatusOr<const PinnedVariables*> PinsInput(OpKernelContext* context, int input) {
  const Tensor& tensor = context->input(input);
  const PinnedVariables* pins = tensor.NumElements() == 1
                                    ? tensor.flat<tensorflow::Variant>()(0).get<PinnedVariables>()
                                    : nullptr;
  if (pins != nullptr) return pins;
  return absl::InvalidArgumentError(absl::StrCat("input ", input, " of ",
                                                 context->op_kernel().name(),
                                                 " is not the value of AutodistPinVariables"));
}

void RunOnOwnThread(OpKernelContext* context,
                    std::function<absl::Status(const std::atomic<bool>& cancelled)> work,
                    tensorflow::AsyncOpKernel::DoneCallback done) {
  auto cancelled = std::make_shared<std::atomic<bool>>(false);
  tensorflow::CancellationManager* manager = context->cancellation_manager();
  tensorflow::CancellationToken token = tensorflow::CancellationManager::kInvalidToken;
  if (manager != nullptr) {
    token = manager->get_cancellation_token();
    if (!manager->RegisterCallback(token, [cancelled] { *cancelled = true; })) {
      context->SetStatus(absl::CancelledError("the step was cancelled before this began"));
      done();
      return;
    }
  }
  tensorflow::Env::Default()->SchedClosure(
      [context, cancelled, manager, token, work = std::move(work), done = std::move(done)] {
        const absl::Status status = WithinMemory(*context, [&] { return work(*cancelled); });
        if (manager != nullptr) manager->DeregisterCallback(token);
        if (!status.ok()) context->SetStatus(FinalStatus(status));
        done();
      });
}

}  // namespace autodist
