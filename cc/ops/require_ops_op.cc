// AutodistRequireOps: whether the process of a task has loaded ops.
//
// A server may have loaded another version of this library, with fewer ops than the client's.

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_def.pb.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace autodist {
namespace {

REGISTER_OP("AutodistRequireOps")
    .Input("names: string")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::NoOutputs)
    .Doc(R"doc(
Fails with NotFound, as a graph with such an op does, if an op is not registered.

names: The types of ops.
)doc");

class RequireOpsOp : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(tensorflow::OpKernelContext* context) override {
    const auto names = context->input(0).flat<tensorflow::tstring>();
    for (int64_t i = 0; i < names.size(); ++i) {
      const tensorflow::OpDef* found;
      OP_REQUIRES_OK(context,
                     tensorflow::OpRegistry::Global()->LookUpOpDef(std::string(names(i)), &found));
    }
  }
};

REGISTER_KERNEL_BUILDER(Name("AutodistRequireOps").Device(tensorflow::DEVICE_CPU), RequireOpsOp);

}  // namespace
}  // namespace autodist
