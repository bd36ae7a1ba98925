// AutodistPinVariables: the variables behind some handles of one device, as one value.

#include <utility>

#include "absl/strings/str_cat.h"
#include "ops/pinned_variables.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/variant.h"

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
References to resource variables of one device, for AutodistSave to read and AutodistRestore to write in place.

The value is meaningful only within the process and is not sent to another.

handles: Handles of variables on the device of this op.
pins: A scalar that holds the variables in the order of their handles.
may_be_uninitialized: Whether a variable without a value is pinned too; else that is an error.
)doc");

absl::Status Uninitialized(const tensorflow::ResourceHandle& handle, absl::string_view reason) {
  // Worded as ReadVariableOp does.
  return absl::FailedPreconditionError(
      absl::StrCat("Could not find variable ", handle.name(),
                   ". This could mean that the variable has been deleted. In TF1, it can also mean "
                   "the variable is "
                   "uninitialized. Debug info: container=",
                   handle.container(), ", status error message=", reason));
}

class PinVariablesOp : public tensorflow::OpKernel {
 public:
  explicit PinVariablesOp(tensorflow::OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("may_be_uninitialized", &may_be_uninitialized_));
  }

  void Compute(tensorflow::OpKernelContext* context) override {
    PinnedVariables::Variables variables(context->num_inputs());
    for (int i = 0; i < context->num_inputs(); ++i) {
      PinnedVariable& pinned = variables[i];
      pinned.handle = tensorflow::HandleFromInput(context, i);
      pinned.manager = context->resource_manager();
      const absl::Status found =
          tensorflow::LookupResource(context, pinned.handle, &pinned.variable);
      if (may_be_uninitialized_ && (found.ok() || absl::IsNotFound(found))) continue;
      OP_REQUIRES(context, found.ok(), Uninitialized(pinned.handle, found.message()));
      tensorflow::tf_shared_lock lock(*pinned.variable->mu());
      OP_REQUIRES(context,
                  pinned.variable->is_initialized && pinned.variable->tensor()->IsInitialized(),
                  Uninitialized(pinned.handle, "the variable has no value"));
    }
    tensorflow::Tensor pins(tensorflow::DT_VARIANT, tensorflow::TensorShape({}));
    pins.scalar<tensorflow::Variant>()() = PinnedVariables(std::move(variables));
    context->set_output(0, std::move(pins));
  }

 private:
  bool may_be_uninitialized_;
};

REGISTER_KERNEL_BUILDER(Name("AutodistPinVariables").Device(tensorflow::DEVICE_CPU),
                        PinVariablesOp);

}  // namespace
}  // namespace autodist
