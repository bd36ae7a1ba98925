// The output of ops that write parts of a data file: a row of numbers for each part.

#ifndef AUTODIST_OPS_SAVE_SUMS_OUTPUT_H_
#define AUTODIST_OPS_SAVE_SUMS_OUTPUT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/figures/figures.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace autodist {

inline absl::Status SumsShape(tensorflow::shape_inference::InferenceContext* context) {
  context->set_output(0, context->Matrix(context->UnknownDim(), context->UnknownDim()));
  return absl::OkStatus();
}

// Output 0: of each part its CRC, and its figures if there are any.
inline absl::Status SetSums(tensorflow::OpKernelContext* context, const std::vector<uint32_t>& crcs,
                            const std::vector<Figures>& figures) {
  const auto rows = static_cast<int64_t>(crcs.size());
  const int64_t columns = figures.empty() ? 1 : 1 + Figures::kWords;
  tensorflow::Tensor* output;
  TF_RETURN_IF_ERROR(
      context->allocate_output(0, tensorflow::TensorShape({rows, columns}), &output));
  int64_t* out = output->flat<int64_t>().data();
  for (size_t i = 0; i < crcs.size(); ++i) {
    *out++ = crcs[i];
    if (figures.empty()) continue;
    const Figures::Words words = ToWords(figures[i]);
    out = std::copy(words.begin(), words.end(), out);
  }
  return absl::OkStatus();
}

}  // namespace autodist

#endif  // AUTODIST_OPS_SAVE_SUMS_OUTPUT_H_
