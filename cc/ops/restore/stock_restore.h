// Restores by TensorFlow's own kernel: checkpoints of the V1 format, and variants.

#ifndef AUTODIST_OPS_RESTORE_STOCK_RESTORE_H_
#define AUTODIST_OPS_RESTORE_STOCK_RESTORE_H_

#include <vector>

#include "absl/status/statusor.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace autodist {

// What RestoreV2 returns for these inputs.
absl::StatusOr<std::vector<tensorflow::Tensor>> RestoreByStock(
    tensorflow::OpKernelContext* context, const tensorflow::Tensor& prefix,
    const tensorflow::Tensor& names, const tensorflow::Tensor& shapes_and_slices,
    const tensorflow::DataTypeVector& dtypes);

}  // namespace autodist

#endif  // AUTODIST_OPS_RESTORE_STOCK_RESTORE_H_
