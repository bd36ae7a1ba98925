// Restores by TensorFlow's own kernel: checkpoints of the V1 format, and variants.

#include "ops/restore/stock_restore.h"

#include <memory>

#include "tensorflow/core/framework/node_def_builder.h"
#include "tensorflow/core/public/version.h"

namespace autodist {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;

absl::StatusOr<std::vector<Tensor>> RestoreByStock(OpKernelContext* context, const Tensor& prefix,
                                                   const Tensor& names,
                                                   const Tensor& shapes_and_slices,
                                                   const tensorflow::DataTypeVector& dtypes) {
  tensorflow::NodeDef node;
  absl::Status status = tensorflow::NodeDefBuilder(context->op_kernel().name(), "RestoreV2")
                            .Input("prefix", 0, tensorflow::DT_STRING)
                            .Input("tensor_names", 0, tensorflow::DT_STRING)
                            .Input("shape_and_slices", 0, tensorflow::DT_STRING)
                            .Attr("dtypes", dtypes)
                            .Finalize(&node);
  if (!status.ok()) return status;
  const std::unique_ptr<tensorflow::OpKernel> kernel =
      tensorflow::CreateOpKernel(tensorflow::DEVICE_CPU, context->device(),
                                 context->device()->GetAllocator(tensorflow::AllocatorAttributes()),
                                 node, TF_GRAPH_DEF_VERSION, &status);
  if (!status.ok()) return status;

  Tensor inputs[] = {prefix, names, shapes_and_slices};
  const std::vector<tensorflow::TensorValue> input_values = {tensorflow::TensorValue(&inputs[0]),
                                                             tensorflow::TensorValue(&inputs[1]),
                                                             tensorflow::TensorValue(&inputs[2])};
  const std::vector<tensorflow::AllocatorAttributes> output_attributes(dtypes.size());
  OpKernelContext::Params params;
  params.step_id = context->step_id();
  params.op_kernel = kernel.get();
  params.device = context->device();
  params.resource_manager = context->resource_manager();
  params.slice_reader_cache = context->slice_reader_cache();
  params.inputs = input_values;
  params.output_attr_array = output_attributes.data();
  OpKernelContext inner(&params);
  kernel->Compute(&inner);
  if (!inner.status().ok()) return inner.status();
  std::vector<Tensor> outputs;
  for (int i = 0; i < inner.num_outputs(); ++i) {
    const tensorflow::TensorValue value = inner.release_output(i);
    outputs.push_back(*value.tensor);
    delete value.tensor;
  }
  return outputs;
}

}  // namespace autodist
