// AutodistReferenceVariables: the values that pinned variables of a process have at one instant.

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ops/kernel_inputs.h"
#include "ops/save/referenced_variables.h"
#include "sessions/report_slots.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/variant.h"

namespace autodist {
namespace {

REGISTER_OP("AutodistReferenceVariables")
    .Input("pins: num_pins * variant")
    .Input("prefix: string")
    .Output("references: variant")
    .Attr("num_pins: int >= 1")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::ScalarShape)
    .Doc(R"doc(
Refers at one instant to the buffers of all variables that see only dense updates, for one
AutodistSave or AutodistJoinSave to write.

It is an op of its own, so that the variables are referred to when stock TensorFlow would read them.
That is as soon as the ops that the reads wait for are done. AutodistSave itself runs later: when
everything else that is saved was computed.

The value is meaningful only within the process and is not sent to another. It can be taken once.

A save that is asked for one instant takes the other variables then, too.

pins: Variables, from AutodistPinVariables; of several devices of the process.
prefix: Scalar. That of the save.
references: A scalar that holds the variables in the order of the pins, and their values.
)doc");

class ReferenceVariablesOp : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(tensorflow::OpKernelContext* context) override {
    WithinMemory(context, [&] { Refer(context); });
  }

  // As ReadVariableOp.
  bool IsExpensive() override { return false; }

 private:
  static void Refer(tensorflow::OpKernelContext* context) {
    const int pin_count = context->num_inputs() - 1;
    const absl::StatusOr<std::string> prefix = PrefixInput(context->input(pin_count));
    OP_REQUIRES_OK(context, prefix.status());
    const std::optional<InstantOptions> instant = ReportSlot::InstantFor(*prefix);
    absl::StatusOr<SavedVariables> saved =
        VariablesInput(context, 0, pin_count, instant ? &*instant : nullptr);
    OP_REQUIRES_OK(context, saved.status());
    tensorflow::Tensor references(tensorflow::DT_VARIANT, tensorflow::TensorShape({}));
    references.scalar<tensorflow::Variant>()() = ReferencedVariables(*std::move(saved));
    context->set_output(0, std::move(references));
  }
};

REGISTER_KERNEL_BUILDER(Name("AutodistReferenceVariables").Device(tensorflow::DEVICE_CPU),
                        ReferenceVariablesOp);

}  // namespace
}  // namespace autodist
