// AutodistAggregateReplicas: the one value of a variable's replicas, by the reduction that saves
// use (core/reduce.h). So what is fetched has the bits that are saved.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/reduction/reduce.h"
#include "format/values/element_type.h"
#include "ops/kernel_inputs.h"
#include "save/plan/save_plan.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "versions/tensorflow_versions.h"

namespace autodist {
namespace {

using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status AggregateShape(InferenceContext* context) {
  ShapeHandle shape = context->input(0);
  for (int i = 1; i < context->num_inputs(); ++i) {
    TF_RETURN_IF_ERROR(context->Merge(shape, context->input(i), &shape));
  }
  context->set_output(0, shape);
  return absl::OkStatus();
}

REGISTER_OP("AutodistAggregateReplicas")
    .Input("values: N * T")
    .Output("value: T")
    .Attr("N: int >= 1")
    .Attr("T: type")
    .Attr("aggregation: {'MEAN', 'SUM', 'ONLY_FIRST_REPLICA'}")
    .SetShapeFn(AggregateShape)
    .Doc(R"doc(
The value of a variable that has several replicas, as it is saved, bit for bit.

values: The replicas, of one shape.
value: Their mean or sum; the first replica where the dtype has no mean, or where only it counts.
)doc");

class AggregateReplicasOp : public tensorflow::OpKernel {
 public:
  explicit AggregateReplicasOp(tensorflow::OpKernelConstruction* context) : OpKernel(context) {
    std::string name;
    OP_REQUIRES_OK(context, context->GetAttr("aggregation", &name));
    OP_REQUIRES_OK(context, context->GetAttr("T", &dtype_));
    const auto aggregation = ParseAggregation(name);
    OP_REQUIRES_OK(context, aggregation.status());
    aggregation_ = *aggregation;
    OP_REQUIRES(context, num_inputs() == 1 || CanReduce(aggregation_, ArithmeticOf(dtype_).type),
                absl::InvalidArgumentError(absl::StrCat("aggregation ", name, " of ", num_inputs(),
                                                        " replicas is not defined for dtype ",
                                                        tensorflow::DataTypeString(dtype_))));
  }

  void Compute(tensorflow::OpKernelContext* context) override {
    WithinMemory(context, [&] { Aggregate(context); });
  }

 private:
  void Aggregate(tensorflow::OpKernelContext* context) const {
    const tensorflow::Tensor& first = context->input(0);
    if (TakesFirstReplica(aggregation_, dtype_) || num_inputs() == 1) {
      context->set_output(0, first);
      return;
    }
    std::vector<const char*> sources;
    for (int i = 0; i < num_inputs(); ++i) {
      const tensorflow::Tensor& value = context->input(i);
      OP_REQUIRES(context, value.shape() == first.shape(),
                  absl::InvalidArgumentError(
                      absl::StrCat("the replicas differ in shape: ", first.shape().DebugString(),
                                   " and ", value.shape().DebugString())));
      sources.push_back(static_cast<const char*>(value.data()));
    }
    tensorflow::Tensor* result;
    OP_REQUIRES_OK(context, context->allocate_output(0, first.shape(), &result));
    char* const destination = static_cast<char*>(result->data());
    const Arithmetic arithmetic = ArithmeticOf(dtype_);
    const int64_t element_bytes = ElementBytes(arithmetic.type);
    context->device()->tensorflow_cpu_worker_threads()->workers->ParallelFor(
        first.NumElements(), ByCost(2 * num_inputs()), [&](int64_t begin, int64_t end) {
          absl::InlinedVector<const void*, 16> from;
          for (const char* source : sources) from.push_back(source + begin * element_bytes);
          Reduce(aggregation_, arithmetic.type, from.data(), num_inputs(), end - begin,
                 destination + begin * element_bytes, arithmetic.codec);
        });
  }

  Aggregation aggregation_ = Aggregation::kMean;
  tensorflow::DataType dtype_ = tensorflow::DT_INVALID;
};

REGISTER_KERNEL_BUILDER(Name("AutodistAggregateReplicas").Device(tensorflow::DEVICE_CPU),
                        AggregateReplicasOp);

}  // namespace
}  // namespace autodist
