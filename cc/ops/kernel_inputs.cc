#include "ops/kernel_inputs.h"

#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/final_status.h"
#include "tensorflow/core/framework/cancellation.h"
#include "tensorflow/core/framework/variant.h"
#include "threads/guarded.h"

namespace autodist {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;

namespace {

// What a kernel does on a thread of its own.
struct Run {
  OpKernelContext* context;
  tensorflow::CancellationManager* manager;
  tensorflow::CancellationToken token = tensorflow::CancellationManager::kInvalidToken;
  std::atomic<bool> is_cancelled{false};
  std::function<absl::Status(const std::atomic<bool>& cancelled)> work;
  tensorflow::AsyncOpKernel::DoneCallback done;

  void Do() {
    const absl::Status status = Guarded([this] { return work(is_cancelled); });
    if (manager != nullptr) manager->DeregisterCallback(token);
    if (!status.ok()) context->SetStatus(FinalStatus(status));
    done();
  }
};

absl::Status Prepare(OpKernelContext* context, std::shared_ptr<Run>* prepared) {
  auto run = std::make_shared<Run>();
  run->context = context;
  run->manager = context->cancellation_manager();
  if (run->manager != nullptr) {
    run->token = run->manager->get_cancellation_token();
    if (!run->manager->RegisterCallback(run->token, [run] { run->is_cancelled = true; })) {
      return absl::CancelledError("the step was cancelled before this began");
    }
  }
  *prepared = std::move(run);
  return absl::OkStatus();
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
  std::shared_ptr<Run> run;
  const absl::Status prepared = Guarded([&] { return Prepare(context, &run); });
  if (!prepared.ok()) {
    context->SetStatus(FinalStatus(prepared));
    done();
    return;
  }
  run->work = std::move(work);
  run->done = std::move(done);
  const absl::Status started = Guarded([&] {
    std::thread([run] { run->Do(); }).detach();
    return absl::OkStatus();
  });
  // Not TensorFlow's SchedClosure(), which ends the process where no thread can be started.
  if (!started.ok()) run->Do();
}

}  // namespace autodist
