// AutodistPinVariables: the variables behind some handles of one device, as one value.

#include <utility>

#include "sessions/pinned_variables.h"
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

class PinVariablesOp : public tensorflow::OpKernel {
 public:
  explicit PinVariablesOp(tensorflow::OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("may_be_uninitialized", &may_be_uninitialized_));
  }

  void Compute(tensorflow::OpKernelContext* context) override {
    OP_REQUIRES_OK(context, Guarded([&] { return Pin(context); }));
  }

  // As ReadVariableOp.
  bool IsExpensive() override { return false; }

 private:
  absl::Status Pin(tensorflow::OpKernelContext* context) const {
    PinnedVariables::Variables variables(context->num_inputs());
    for (int i = 0; i < context->num_inputs(); ++i) {
      PinnedVariable& pinned = variables[i];
      pinned.handle = tensorflow::HandleFromInput(context, i);
      pinned.manager = context->resource_manager();
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

REGISTER_KERNEL_BUILDER(Name("AutodistPinVariables").Device(tensorflow::DEVICE_CPU),
                        PinVariablesOp);

}  // namespace
}  // namespace autodist
