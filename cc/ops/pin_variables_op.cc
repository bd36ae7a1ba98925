// AutodistPinVariables and AutodistPinNamedVariables: some variables of one device, as one value.
//
// A graph with a handle for each of many variables costs more than all else of a save: TensorFlow
// places, partitions and runs an op for each. So variables are pinned by name where their names are
// known.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "accelerators/accelerator.h"
#include "sessions/pinned_variables.h"
#include "tensorflow/core/common_runtime/device.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/variant.h"
#include "threads/guarded.h"

namespace autodist {
namespace {

REGISTER_OP("AutodistPinVariables")
    .Input("handles: N * resource")
    .Output("pins: variant")
    .Attr("N: int >= 1")
    .Attr("may_be_uninitialized: bool = false")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::ScalarShape)
    .Doc(R"doc(
Resource variables of one device, for AutodistSave to read and AutodistRestore to write in place.

The value is meaningful only within the process and is not sent to another.

handles: Handles of variables on the device of this op.
pins: A scalar that holds the variables in the order of their handles.
may_be_uninitialized: Whether a variable without a value is pinned too; else that is an error.
)doc");

REGISTER_OP("AutodistPinNamedVariables")
    .Output("pins: variant")
    .Attr("containers: list(string)")
    .Attr("names: list(string)")
    .Attr("may_be_uninitialized: bool = false")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::ScalarShape)
    .Doc(R"doc(
As AutodistPinVariables, of variables that are named.

pins: A scalar that holds the variables in the order of their names.
containers: Of each variable the container of its VarHandleOp.
names: Likewise its shared_name.
may_be_uninitialized: As in AutodistPinVariables.
)doc");

// Pins the variables that `HandleOf` of a derived class finds.
class PinningOp : public tensorflow::OpKernel {
 public:
  explicit PinningOp(tensorflow::OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("may_be_uninitialized", &may_be_uninitialized_));
  }

  void Compute(tensorflow::OpKernelContext* context) override {
    OP_REQUIRES_OK(context, Guarded([&] { return Pin(context); }));
  }

  // As ReadVariableOp.
  bool IsExpensive() override { return false; }

 private:
  virtual int Count(tensorflow::OpKernelContext* context) const = 0;
  virtual tensorflow::ResourceHandle HandleOf(tensorflow::OpKernelContext* context,
                                              int number) const = 0;

  // The device of the op, and so of its variables; null for a processor.
  static absl::StatusOr<std::shared_ptr<Accelerator>> AcceleratorOf(
      tensorflow::OpKernelContext* context) {
    // That of a session of a server is gone with the session.
    auto* const device = static_cast<tensorflow::Device*>(context->device()->UnderlyingDevice());
    if (device->device_type() == tensorflow::DEVICE_CPU) return nullptr;
    return Accelerator::Create(device, context->op_device_context());
  }

  absl::Status Pin(tensorflow::OpKernelContext* context) const {
    const absl::StatusOr<std::shared_ptr<Accelerator>> accelerator = AcceleratorOf(context);
    if (!accelerator.ok()) return accelerator.status();
    PinnedVariables::Variables variables(Count(context));
    for (size_t i = 0; i < variables.size(); ++i) {
      PinnedVariable& pinned = variables[i];
      pinned.handle = HandleOf(context, static_cast<int>(i));
      pinned.manager = context->resource_manager();
      pinned.accelerator = *accelerator;
      const absl::Status found =
          tensorflow::LookupResource(context, pinned.handle, &pinned.variable);
      if (may_be_uninitialized_ && (found.ok() || absl::IsNotFound(found))) continue;
      if (!found.ok()) return UninitializedError(pinned.handle, found.message());
      tensorflow::tf_shared_lock lock(*pinned.variable->mu());
      if (!pinned.variable->is_initialized || !pinned.variable->tensor()->IsInitialized()) {
        return UninitializedError(pinned.handle, "the variable has no value");
      }
    }
    tensorflow::Tensor pins(tensorflow::DT_VARIANT, tensorflow::TensorShape({}));
    pins.scalar<tensorflow::Variant>()() = PinnedVariables(std::move(variables));
    context->set_output(0, std::move(pins));
    return absl::OkStatus();
  }

  bool may_be_uninitialized_;
};

class PinVariablesOp : public PinningOp {
 public:
  using PinningOp::PinningOp;

 private:
  int Count(tensorflow::OpKernelContext* context) const override { return context->num_inputs(); }
  tensorflow::ResourceHandle HandleOf(tensorflow::OpKernelContext* context,
                                      int number) const override {
    return tensorflow::HandleFromInput(context, number);
  }
};

class PinNamedVariablesOp : public PinningOp {
 public:
  explicit PinNamedVariablesOp(tensorflow::OpKernelConstruction* context) : PinningOp(context) {
    OP_REQUIRES_OK(context, context->GetAttr("containers", &containers_));
    OP_REQUIRES_OK(context, context->GetAttr("names", &names_));
    OP_REQUIRES(context, containers_.size() == names_.size(),
                absl::InvalidArgumentError(absl::StrCat("there are ", containers_.size(),
                                                        " containers but ", names_.size(),
                                                        " names of variables")));
  }

 private:
  int Count(tensorflow::OpKernelContext*) const override { return static_cast<int>(names_.size()); }
  // As VarHandleOp.
  tensorflow::ResourceHandle HandleOf(tensorflow::OpKernelContext* context,
                                      int number) const override {
    return tensorflow::MakeResourceHandle<tensorflow::Var>(context, containers_[number],
                                                           names_[number]);
  }

  std::vector<std::string> containers_;
  std::vector<std::string> names_;
};

REGISTER_KERNEL_BUILDER(Name("AutodistPinVariables").Device(tensorflow::DEVICE_CPU),
                        PinVariablesOp);
REGISTER_KERNEL_BUILDER(Name("AutodistPinNamedVariables").Device(tensorflow::DEVICE_CPU),
                        PinNamedVariablesOp);
// Of all other devices. Handles and pins are on the host.
REGISTER_KERNEL_BUILDER(Name("AutodistPinVariables")
                            .Device(tensorflow::DEVICE_DEFAULT)
                            .HostMemory("handles")
                            .HostMemory("pins"),
                        PinVariablesOp);
REGISTER_KERNEL_BUILDER(
    Name("AutodistPinNamedVariables").Device(tensorflow::DEVICE_DEFAULT).HostMemory("pins"),
    PinNamedVariablesOp);

}  // namespace
}  // namespace autodist
