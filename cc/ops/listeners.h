// What the ops have in common that connect tasks over sockets of our own.

#ifndef AUTODIST_OPS_LISTENERS_H_
#define AUTODIST_OPS_LISTENERS_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "sockets/listener.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/variant.h"
#include "tensorflow/core/framework/variant_encode_decode.h"
#include "tensorflow/core/framework/variant_tensor_data.h"

namespace autodist {

// It has a meaning only within its process.
class SharedListener {
 public:
  SharedListener() = default;
  explicit SharedListener(Listener listener)
      : listener_(std::make_shared<const Listener>(std::move(listener))) {}

  const std::shared_ptr<const Listener>& get() const { return listener_; }

  // A variant requires these of its value. PinnedVariables has them, too.
  std::string TypeName() const { return "autodist::SharedListener"; }
  void Encode(tensorflow::VariantTensorData* data) const { data->set_type_name(TypeName()); }
  bool Decode(const tensorflow::VariantTensorData&) { return false; }
  std::string DebugString() const { return TypeName(); }

 private:
  std::shared_ptr<const Listener> listener_;
};

inline void SetListener(tensorflow::OpKernelContext* context, int output, SharedListener listener) {
  tensorflow::Tensor shared(tensorflow::DT_VARIANT, tensorflow::TensorShape({}));
  shared.scalar<tensorflow::Variant>()() = std::move(listener);
  context->set_output(output, std::move(shared));
}

// The listener of an input; null if the input has none.
inline std::shared_ptr<const Listener> ListenerInput(tensorflow::OpKernelContext* context,
                                                     int input) {
  const tensorflow::Tensor& tensor = context->input(input);
  if (tensor.NumElements() != 1) return nullptr;
  const auto* shared = tensor.flat<tensorflow::Variant>()(0).get<SharedListener>();
  return shared == nullptr ? nullptr : shared->get();
}

// Turns Unavailable into DeadlineExceeded. When a run fails with that code, the client asks which
// tasks live. FinalStatus() would not keep Unavailable.
inline absl::Status OfLostTask(const absl::Status& status) {
  return absl::IsUnavailable(status) ? absl::DeadlineExceededError(status.message()) : status;
}

}  // namespace autodist

#endif  // AUTODIST_OPS_LISTENERS_H_
