// AutodistSplitBatch: a batch as one sub-batch per replica.
//
// B rows make N consecutive sub-batches, the larger first. Their sizes differ by at most one. One
// is a view of the batch's buffer where its first byte is aligned as TensorFlow's kernels want it,
// else a copy. Where B < N a replica without a sub-batch gets the last row once more, with size 0:
// kernels exist that abort on zero rows.
//
//   B = 5, N = 2     sizes 3 2     rows [0, 3) [3, 5)
//   B = 1, N = 2     sizes 1 0     rows [0, 1) [0, 1)

#include <algorithm>
#include <cstdint>

#include "absl/status/status.h"
#include "ops/kernel_inputs.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/framework/tensor_util.h"

namespace autodist {
namespace {

using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status SplitShapes(InferenceContext* context) {
  ShapeHandle batch;
  TF_RETURN_IF_ERROR(context->WithRankAtLeast(context->input(0), 1, &batch));
  ShapeHandle part;
  TF_RETURN_IF_ERROR(context->ReplaceDim(batch, 0, context->UnknownDim(), &part));
  const int part_count = context->num_outputs() - 1;
  for (int i = 0; i < part_count; ++i) context->set_output(i, part);
  context->set_output(part_count, context->Vector(part_count));
  return absl::OkStatus();
}

REGISTER_OP("AutodistSplitBatch")
    .Input("batch: T")
    .Output("parts: N * T")
    .Output("sizes: int64")
    .Attr("N: int >= 1")
    .Attr("T: type")
    .SetShapeFn(SplitShapes)
    .Doc(R"doc(
Splits a batch along its first dimension into consecutive parts whose sizes differ by at most one.

batch: At least one dimension.
parts: The parts; one without rows holds the last row of the batch, if there is one.
sizes: How many rows of the batch are in each part, shape [N].
)doc");

class SplitBatchOp : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(tensorflow::OpKernelContext* context) override {
    WithinMemory(context, [&] { Split(context); });
  }

 private:
  void Split(tensorflow::OpKernelContext* context) const {
    const tensorflow::Tensor& batch = context->input(0);
    OP_REQUIRES(
        context, batch.dims() >= 1,
        absl::InvalidArgumentError("expected a batch with at least one dimension, found a scalar"));
    const int part_count = num_outputs() - 1;
    const int64_t row_count = batch.dim_size(0);
    tensorflow::Tensor* sizes;
    OP_REQUIRES_OK(context, context->allocate_output(part_count, {part_count}, &sizes));
    int64_t start = 0;
    for (int i = 0; i < part_count; ++i) {
      const int64_t size = row_count / part_count + (i < row_count % part_count ? 1 : 0);
      sizes->vec<int64_t>()(i) = size;
      const int64_t taken = std::max(size, std::min<int64_t>(row_count, 1));
      const int64_t begin = std::min(start, row_count - taken);
      const tensorflow::Tensor part = batch.Slice(begin, begin + taken);
      context->set_output(i, part.IsAligned() ? part : tensorflow::tensor::DeepCopy(part));
      start += size;
    }
  }
};

REGISTER_KERNEL_BUILDER(Name("AutodistSplitBatch").Device(tensorflow::DEVICE_CPU), SplitBatchOp);

}  // namespace
}  // namespace autodist
