// References to resource variables, carried from op to op in a variant.
//
// An op can take the handles of one device only. One save reads the variables of several devices of
// a process. So an AutodistPinVariables on each device looks up that device's variables, and the
// save takes what these ops return. The references keep the variables alive; they mean nothing to
// another process.

#ifndef AUTODIST_SESSIONS_PINNED_VARIABLES_H_
#define AUTODIST_SESSIONS_PINNED_VARIABLES_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "accelerators/accelerator.h"
#include "tensorflow/core/framework/resource_handle.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"
#include "tensorflow/core/framework/variant_encode_decode.h"
#include "tensorflow/core/framework/variant_tensor_data.h"
#include "tensorflow/core/platform/refcount.h"

namespace autodist {

struct PinnedVariable {
  tensorflow::core::RefCountPtr<tensorflow::Var> variable;  // null if there is none yet
  tensorflow::ResourceHandle handle;
  tensorflow::ResourceMgr* manager;  // of the variable's device; outlives the step
  std::shared_ptr<Accelerator> accelerator = nullptr;  // the device, unless it is a processor
};

class PinnedVariables {
 public:
  using Variables = std::vector<PinnedVariable>;

  PinnedVariables() = default;
  explicit PinnedVariables(Variables variables)
      : variables_(std::make_shared<const Variables>(std::move(variables))) {}

  // Empty for a value that was default-constructed.
  const Variables& variables() const {
    static const Variables* const none = new Variables;
    return variables_ == nullptr ? *none : *variables_;
  }

  // The interface that a variant needs. Decoding fails, so that a pin sent to another process is
  // refused there.
  std::string TypeName() const { return "autodist::PinnedVariables"; }
  void Encode(tensorflow::VariantTensorData* data) const { data->set_type_name(TypeName()); }
  bool Decode(const tensorflow::VariantTensorData&) { return false; }
  std::string DebugString() const { return TypeName(); }

 private:
  std::shared_ptr<const Variables> variables_;
};

// The error that ReadVariableOp returns for a variable without a value.
inline absl::Status UninitializedError(const tensorflow::ResourceHandle& handle,
                                       absl::string_view reason) {
  return absl::FailedPreconditionError(
      absl::StrCat("Could not find variable ", handle.name(),
                   ". This could mean that the variable has been deleted. In TF1, it can also mean "
                   "the variable is "
                   "uninitialized. Debug info: container=",
                   handle.container(), ", status error message=", reason));
}

}  // namespace autodist

#endif  // AUTODIST_SESSIONS_PINNED_VARIABLES_H_
