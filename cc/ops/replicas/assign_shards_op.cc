// AutodistAssignShards: one value assigned to the shards of one copy of a variable.
//
// With TensorFlow's own ops it would be a split, and a handle and an assignment for each shard. A
// session would place, optimize and run each of them. Each shard gets a buffer of its own.

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/boxes/box.h"
#include "core/boxes/runs.h"
#include "ops/kernel_inputs.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace autodist {
namespace {

using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::Var;

REGISTER_OP("AutodistAssignShards")
    .Input("value: T")
    .Attr("T: type")
    .Attr("container: string")
    .Attr("shared_names: list(string) >= 1")
    .Attr("shape: shape")
    .Attr("starts: list(int)")
    .Attr("shapes: list(shape)")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext*) { return absl::OkStatus(); })
    .Doc(R"doc(
Assigns to each variable the part of a value that its box covers.

The variables are those of the op's device; one that does not exist is made, as by `VarHandleOp` and
`AssignVariableOp`.

value: The whole value; of a dtype whose elements are plain memory.
container: Of the variables, as in `VarHandleOp`.
shared_names: Names of the variables, one per shard, as in `VarHandleOp`.
shape: The shape that the value must have.
starts: The first index of each shard, one number for each dimension, shard after shard.
shapes: The shape of each shard.
)doc");

class AssignShardsOp : public tensorflow::OpKernel {
 public:
  explicit AssignShardsOp(tensorflow::OpKernelConstruction* context) : OpKernel(context) {
    std::vector<int64_t> starts;
    OP_REQUIRES_OK(context, context->GetAttr("starts", &starts));
    OP_REQUIRES_OK(context, context->GetAttr("shape", &shape_));
    OP_REQUIRES_OK(context, context->GetAttr("shapes", &shapes_));
    OP_REQUIRES_OK(context, context->GetAttr("T", &dtype_));
    OP_REQUIRES(context, tensorflow::DataTypeCanUseMemcpy(dtype_),
                absl::InvalidArgumentError(absl::StrCat("expected a dtype of plain memory, found ",
                                                        tensorflow::DataTypeString(dtype_))));
    OP_REQUIRES_OK(context, context->GetAttr("container", &container_));
    OP_REQUIRES_OK(context, context->GetAttr("shared_names", &names_));
    const size_t shard_count = names_.size();
    OP_REQUIRES(context, shapes_.size() == shard_count,
                absl::InvalidArgumentError(
                    absl::StrCat("expected ", shard_count, " shapes, found ", shapes_.size())));
    size_t next = 0;
    for (const TensorShape& shape : shapes_) {
      const size_t rank = static_cast<size_t>(shape.dims());
      OP_REQUIRES(context, starts.size() >= next + rank,
                  absl::InvalidArgumentError("expected a start for each dimension of each shard"));
      Box box;
      for (size_t i = 0; i < rank; ++i) {
        box.start.push_back(starts[next++]);
        box.extent.push_back(shape.dim_size(static_cast<int>(i)));
      }
      OP_REQUIRES(context, LiesIn(box, ToDims(shape_)),
                  absl::InvalidArgumentError(absl::StrCat("shard ", box.ToString(),
                                                          " does not lie in a value of shape ",
                                                          shape_.DebugString())));
      boxes_.push_back(std::move(box));
    }
  }

  void Compute(tensorflow::OpKernelContext* context) override {
    WithinMemory(context, [&] { Assign(context); });
  }

 private:
  void Assign(tensorflow::OpKernelContext* context) const {
    const Tensor& value = context->input(0);
    OP_REQUIRES(
        context, value.shape() == shape_,
        absl::InvalidArgumentError(absl::StrCat("expected a value of shape ", shape_.DebugString(),
                                                ", found ", value.shape().DebugString())));
    const Dims shape = ToDims(shape_);
    for (size_t i = 0; i < boxes_.size(); ++i) {
      tensorflow::AllocatorAttributes attributes;
      attributes.set_gpu_compatible(true);
      Tensor part;
      OP_REQUIRES_OK(context, context->allocate_temp(dtype_, shapes_[i], &part, attributes));
      Copy(value, shape, boxes_[i], &part);
      tensorflow::core::RefCountPtr<Var> variable;
      OP_REQUIRES_OK(
          context, tensorflow::LookupOrCreateResource<Var>(
                       context, tensorflow::MakeResourceHandle<Var>(context, container_, names_[i]),
                       &variable, [&](Var** made) {
                         *made = new Var(dtype_);
                         return absl::OkStatus();
                       }));
      tensorflow::mutex_lock lock(*variable->mu());
      OP_REQUIRES(context, variable->tensor()->dtype() == dtype_,
                  absl::InvalidArgumentError(absl::StrCat(
                      "expected a variable of ", tensorflow::DataTypeString(dtype_), ", found ",
                      tensorflow::DataTypeString(variable->tensor()->dtype()))));
      *variable->tensor() = std::move(part);
      variable->is_initialized = true;
    }
  }

  static Dims ToDims(const TensorShape& shape) {
    Dims dims;
    for (const auto dim : shape) dims.push_back(dim.size);
    return dims;
  }

  static bool LiesIn(const Box& box, const Dims& shape) {
    if (box.extent.size() != shape.size()) return false;
    for (size_t i = 0; i < shape.size(); ++i) {
      if (box.start[i] < 0 || box.start[i] > shape[i] - box.extent[i]) return false;
    }
    return true;
  }

  static void Copy(const Tensor& value, const Dims& shape, const Box& box, Tensor* part) {
    if (part->NumElements() == 0) return;
    const int64_t bytes = tensorflow::DataTypeSize(value.dtype());
    const char* const from = static_cast<const char*>(value.data());
    char* const to = static_cast<char*>(part->data());
    VisitRuns(shape, box, 0, value.NumElements(), [&](const Run& run) {
      std::memcpy(to + run.source * bytes, from + run.output * bytes,
                  static_cast<size_t>(run.count * bytes));
    });
  }

  std::string container_;
  std::vector<std::string> names_;
  tensorflow::DataType dtype_ = tensorflow::DT_INVALID;
  TensorShape shape_;
  std::vector<TensorShape> shapes_;
  std::vector<Box> boxes_;
};

REGISTER_KERNEL_BUILDER(Name("AutodistAssignShards").Device(tensorflow::DEVICE_CPU),
                        AssignShardsOp);

}  // namespace
}  // namespace autodist
