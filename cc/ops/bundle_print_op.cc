// Tells what a task sees of a bundle, for comparing with what another sees.

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/crc/crc32c.h"
#include "ops/kernel_inputs.h"
#include "ops/task_op.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/util/tensor_bundle/naming.h"

namespace autodist {
namespace {

REGISTER_OP("AutodistBundlePrint")
    .Input("prefix: string")
    .Output("print: int64")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      context->set_output(0, context->Vector(2));
      return absl::OkStatus();
    })
    .Doc(R"doc(
What this task sees of a bundle of one data file.

prefix: Scalar. The bundle's.
print: The CRC of the index file, unmasked, and the size of the data file in bytes; -1 where it
cannot be read.
)doc");

class BundlePrintOp : public TaskOp {
 public:
  using TaskOp::TaskOp;

 private:
  absl::Status Work(tensorflow::OpKernelContext* context, const std::atomic<bool>&) override {
    absl::StatusOr<std::string> prefix = PrefixInput(context->input(0));
    if (!prefix.ok()) return prefix.status();
    tsl::Env* const env = tsl::Env::Default();
    std::string index;
    int64_t crc = -1, size_bytes = -1;
    if (ReadFileToString(env, tensorflow::MetaFilename(*prefix), &index).ok()) {
      crc = static_cast<uint32_t>(absl::ComputeCrc32c(index));
    }
    uint64_t data_bytes;
    if (env->GetFileSize(tensorflow::DataFilename(*prefix, 0, 1), &data_bytes).ok()) {
      size_bytes = static_cast<int64_t>(data_bytes);
    }
    SetVector<int64_t>(context, 0, std::vector<int64_t>{crc, size_bytes});
    return absl::OkStatus();
  }
};

REGISTER_KERNEL_BUILDER(Name("AutodistBundlePrint").Device(tensorflow::DEVICE_CPU), BundlePrintOp);

}  // namespace
}  // namespace autodist
