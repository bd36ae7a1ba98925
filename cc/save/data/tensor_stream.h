// The encoded bytes of a planned tensor whose elements vary in size: strings or variants.

#ifndef AUTODIST_SAVE_DATA_TENSOR_STREAM_H_
#define AUTODIST_SAVE_DATA_TENSOR_STREAM_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "format/values/encoded_stream.h"
#include "save/data/sources.h"
#include "save/plan/save_plan.h"
#include "tensorflow/core/framework/tensor.h"

namespace autodist {

struct TensorStream {
  std::vector<tensorflow::Tensor> values;  // what the stream reads
  std::unique_ptr<EncodedStream> stream;
};

// Takes the values of `planned` now; holds no lock afterwards. The elements of several shards are
// put into the order of the whole tensor; of several replicas the first is taken.
absl::StatusOr<TensorStream> MakeTensorStream(const PlannedTensor& planned, Sources* sources);

}  // namespace autodist

#endif  // AUTODIST_SAVE_DATA_TENSOR_STREAM_H_
