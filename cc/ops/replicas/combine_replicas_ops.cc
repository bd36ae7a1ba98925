// AutodistMeanOfReplicas, AutodistJoinReplicas: one tensor of what the replicas computed from their
// sub-batches.
//
// `sizes` says how many rows of the batch each replica had. Its share is size / total, rounded to
// the type that is computed in: float for the 16-bit types, else the type itself. A replica of size
// 0 counts as nothing, NaN included.

#include <algorithm>
#include <complex>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "ops/kernel_inputs.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/register_types.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/framework/variant.h"
#include "versions/tensorflow_versions.h"

namespace autodist {
namespace {

using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status MeanShape(InferenceContext* context) {
  const int replica_count = context->num_inputs() - 1;
  ShapeHandle shape = context->input(0);
  for (int i = 1; i < replica_count; ++i) {
    TF_RETURN_IF_ERROR(context->Merge(shape, context->input(i), &shape));
  }
  context->set_output(0, shape);
  ShapeHandle sizes;
  return context->WithRank(context->input(replica_count), 1, &sizes);
}

absl::Status JoinedShape(InferenceContext* context) {
  const int replica_count = context->num_inputs() - 1;
  ShapeHandle shape;
  TF_RETURN_IF_ERROR(context->WithRankAtLeast(context->input(0), 1, &shape));
  TF_RETURN_IF_ERROR(context->ReplaceDim(shape, 0, context->UnknownDim(), &shape));
  for (int i = 1; i < replica_count; ++i) {
    ShapeHandle other;
    TF_RETURN_IF_ERROR(context->WithRankAtLeast(context->input(i), 1, &other));
    TF_RETURN_IF_ERROR(context->ReplaceDim(other, 0, context->UnknownDim(), &other));
    TF_RETURN_IF_ERROR(context->Merge(shape, other, &shape));
  }
  context->set_output(0, shape);
  ShapeHandle sizes;
  return context->WithRank(context->input(replica_count), 1, &sizes);
}

REGISTER_OP("AutodistMeanOfReplicas")
    .Input("values: N * T")
    .Input("sizes: int64")
    .Output("mean: T")
    .Attr("N: int >= 1")
    .Attr("T: {half, bfloat16, float, double, complex64, complex128}")
    .SetShapeFn(MeanShape)
    .Doc(R"doc(
The mean of one tensor per replica, weighted by the sizes of the replicas' sub-batches.

values: Tensors of one shape.
sizes: Shape [N].
mean: Of all alike where all sizes are zero.
)doc");

REGISTER_OP("AutodistJoinReplicas")
    .Input("values: N * T")
    .Input("sizes: int64")
    .Output("joined: T")
    .Attr("N: int >= 1")
    .Attr("T: type")
    .SetShapeFn(JoinedShape)
    .Doc(R"doc(
The rows of all replicas that have a sub-batch, in replica order; of all replicas where none
has.

values: Tensors of one shape but for the first dimension.
sizes: Shape [N].
joined: Their rows.
)doc");

REGISTER_OP("AutodistJoinWeightedReplicas")
    .Input("values: N * T")
    .Input("sizes: int64")
    .Output("joined: T")
    .Attr("N: int >= 1")
    .Attr("T: {half, bfloat16, float, double, complex64, complex128}")
    .SetShapeFn(JoinedShape)
    .Doc(R"doc(
As AutodistJoinReplicas, each row times its replica's share of the batch.

values: Tensors of one shape but for the first dimension.
sizes: Shape [N].
joined: Their rows.
)doc");

// What is computed in, and what shares are.
template <typename T>
struct SumType {
  using Value = T;
  using Share = T;
};
template <>
struct SumType<Eigen::half> {
  using Value = float;
  using Share = float;
};
template <>
struct SumType<Eigen::bfloat16> {
  using Value = float;
  using Share = float;
};
template <typename T>
struct SumType<std::complex<T>> {
  using Value = std::complex<T>;
  using Share = T;
};

template <typename T>
using ShareOf = typename SumType<T>::Share;

absl::Status CheckSizes(const tensorflow::Tensor& sizes, int replica_count) {
  if (sizes.dims() == 1 && sizes.dim_size(0) == replica_count) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("expected sizes of shape [", replica_count,
                                                 "], found ", sizes.shape().DebugString()));
}

template <typename Share>
std::vector<Share> Shares(const tensorflow::Tensor& sizes) {
  const auto counts = sizes.vec<int64_t>();
  double total = 0;
  for (int64_t i = 0; i < counts.size(); ++i) total += static_cast<double>(counts(i));
  std::vector<Share> shares(counts.size());
  for (int64_t i = 0; i < counts.size(); ++i) {
    const double share = total > 0 ? static_cast<double>(counts(i)) / total : 1.0 / counts.size();
    shares[i] = static_cast<Share>(share);
  }
  return shares;
}

// Runs `function(begin, end)` on ranges of [0, count) in the threads of the op's device; `cost` is
// in cycles.
template <typename Function>
void InParallel(tensorflow::OpKernelContext* context, int64_t count, int64_t cost,
                const Function& function) {
  context->device()->tensorflow_cpu_worker_threads()->workers->ParallelFor(count, ByCost(cost),
                                                                           function);
}

// `Operation::Combine(context)` makes the output.
template <typename Operation>
class CombineOp : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(tensorflow::OpKernelContext* context) override {
    WithinMemory(context, [&] { Operation::Combine(context); });
  }
};

template <typename T>
class MeanOfReplicasOp : public CombineOp<MeanOfReplicasOp<T>> {
 public:
  using CombineOp<MeanOfReplicasOp<T>>::CombineOp;

  static void Combine(tensorflow::OpKernelContext* context) {
    const int replica_count = context->num_inputs() - 1;
    const tensorflow::Tensor& sizes = context->input(replica_count);
    OP_REQUIRES_OK(context, CheckSizes(sizes, replica_count));
    const tensorflow::TensorShape& shape = context->input(0).shape();
    for (int i = 1; i < replica_count; ++i) {
      OP_REQUIRES(context, context->input(i).shape() == shape,
                  absl::InvalidArgumentError(
                      absl::StrCat("the replicas' tensors differ in shape: ", shape.DebugString(),
                                   " and ", context->input(i).shape().DebugString())));
    }
    using Share = ShareOf<T>;
    std::vector<const T*> sources;
    std::vector<Share> shares;
    const std::vector<Share> all_shares = Shares<Share>(sizes);
    for (int i = 0; i < replica_count; ++i) {
      if (all_shares[i] == Share(0)) continue;
      sources.push_back(context->input(i).flat<T>().data());
      shares.push_back(all_shares[i]);
    }
    tensorflow::Tensor* mean;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, shape, &mean));
    T* destination = mean->flat<T>().data();
    // Two cycles an element of a source: the sum is bound by memory.
    InParallel(context, shape.num_elements(), 2 * replica_count, [&](int64_t begin, int64_t end) {
      AddUp(sources, shares, begin, end, destination);
    });
  }

 private:
  // `destination` may be the first input: an element is read from all sources before it is written.
  // So no element depends on another, which the compiler cannot know.
  static void AddUp(const std::vector<const T*>& sources, const std::vector<ShareOf<T>>& shares,
                    int64_t begin, int64_t end, T* destination) {
    using Value = typename SumType<T>::Value;
    if (sources.size() == 2) {
      const T *first = sources[0], *second = sources[1];
      const ShareOf<T> a = shares[0], b = shares[1];
      for (int64_t i = begin; i < end; ++i) {
        destination[i] =
            static_cast<T>(static_cast<Value>(first[i]) * a + static_cast<Value>(second[i]) * b);
      }
      return;
    }
    for (int64_t i = begin; i < end; ++i) {
      Value sum = Value(0);
      for (size_t k = 0; k < sources.size(); ++k)
        sum += static_cast<Value>(sources[k][i]) * shares[k];
      destination[i] = static_cast<T>(sum);
    }
  }
};

// The replicas of `context` whose rows are joined, and `joined`, allocated for them.
absl::Status AllocateJoined(tensorflow::OpKernelContext* context, std::vector<int>* replicas,
                            tensorflow::Tensor** joined) {
  const int replica_count = context->num_inputs() - 1;
  const tensorflow::Tensor& sizes = context->input(replica_count);
  TF_RETURN_IF_ERROR(CheckSizes(sizes, replica_count));
  const auto counts = sizes.vec<int64_t>();
  const bool has_rows =
      std::any_of(counts.data(), counts.data() + replica_count, [](int64_t n) { return n > 0; });
  tensorflow::TensorShape shape = context->input(0).shape();
  int64_t row_count = 0;
  for (int i = 0; i < replica_count; ++i) {
    tensorflow::TensorShape own = context->input(i).shape();
    if (own.dims() < 1) {
      return absl::InvalidArgumentError(
          "expected tensors with at least one dimension, found a scalar");
    }
    const int64_t own_rows = own.dim_size(0);
    own.set_dim(0, shape.dim_size(0));
    if (own != shape) {
      return absl::InvalidArgumentError(
          absl::StrCat("the replicas' rows differ in shape: ", shape.DebugString(), " and ",
                       context->input(i).shape().DebugString()));
    }
    if (has_rows && counts(i) == 0) continue;
    replicas->push_back(i);
    row_count += own_rows;
  }
  shape.set_dim(0, row_count);
  return context->allocate_output(0, shape, joined);
}

template <typename T>
class JoinReplicasOp : public CombineOp<JoinReplicasOp<T>> {
 public:
  using CombineOp<JoinReplicasOp<T>>::CombineOp;

  static void Combine(tensorflow::OpKernelContext* context) {
    std::vector<int> replicas;
    tensorflow::Tensor* joined;
    OP_REQUIRES_OK(context, AllocateJoined(context, &replicas, &joined));
    T* destination = joined->flat<T>().data();
    for (const int replica : replicas) {
      const auto values = context->input(replica).flat<T>();
      destination = std::copy(values.data(), values.data() + values.size(), destination);
    }
  }
};

template <typename T>
class JoinWeightedReplicasOp : public CombineOp<JoinWeightedReplicasOp<T>> {
 public:
  using CombineOp<JoinWeightedReplicasOp<T>>::CombineOp;

  static void Combine(tensorflow::OpKernelContext* context) {
    std::vector<int> replicas;
    tensorflow::Tensor* joined;
    OP_REQUIRES_OK(context, AllocateJoined(context, &replicas, &joined));
    using Value = typename SumType<T>::Value;
    const std::vector<ShareOf<T>> shares =
        Shares<ShareOf<T>>(context->input(context->num_inputs() - 1));
    T* destination = joined->flat<T>().data();
    for (const int replica : replicas) {
      const auto values = context->input(replica).flat<T>();
      const T* source = values.data();
      const ShareOf<T> share = shares[replica];
      InParallel(context, values.size(), 2, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          destination[i] = static_cast<T>(static_cast<Value>(source[i]) * share);
        }
      });
      destination += values.size();
    }
  }
};

#define REGISTER_WEIGHTED(type)                                                                \
  REGISTER_KERNEL_BUILDER(                                                                     \
      Name("AutodistMeanOfReplicas").Device(tensorflow::DEVICE_CPU).TypeConstraint<type>("T"), \
      MeanOfReplicasOp<type>);                                                                 \
  REGISTER_KERNEL_BUILDER(Name("AutodistJoinWeightedReplicas")                                 \
                              .Device(tensorflow::DEVICE_CPU)                                  \
                              .TypeConstraint<type>("T"),                                      \
                          JoinWeightedReplicasOp<type>);

#define REGISTER_JOIN(type)                                                                  \
  REGISTER_KERNEL_BUILDER(                                                                   \
      Name("AutodistJoinReplicas").Device(tensorflow::DEVICE_CPU).TypeConstraint<type>("T"), \
      JoinReplicasOp<type>);

REGISTER_WEIGHTED(Eigen::half)
REGISTER_WEIGHTED(Eigen::bfloat16)
REGISTER_WEIGHTED(float)
REGISTER_WEIGHTED(double)
REGISTER_WEIGHTED(tensorflow::complex64)
REGISTER_WEIGHTED(tensorflow::complex128)
TF_CALL_ALL_TYPES(REGISTER_JOIN)
TF_CALL_QUANTIZED_TYPES(REGISTER_JOIN)

#undef REGISTER_JOIN
#undef REGISTER_WEIGHTED

}  // namespace
}  // namespace autodist
