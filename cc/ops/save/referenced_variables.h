// The values of all variables of a save that can be referred to, taken at one instant.
//
// A save takes a long time, and training goes on meanwhile. It writes variables with dense updates
// as they were when it began. All of them are locked together while the save takes references to
// their buffers. The next update of a variable copies it first, as beside stock's reads. A variable
// in copy-on-read mode cannot be referenced: it is read when it is written.

#ifndef AUTODIST_OPS_SAVE_REFERENCED_VARIABLES_H_
#define AUTODIST_OPS_SAVE_REFERENCED_VARIABLES_H_

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "sessions/instant.h"
#include "sessions/pinned_variables.h"
#include "sessions/variable_sources.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/variant_encode_decode.h"
#include "tensorflow/core/framework/variant_tensor_data.h"

namespace autodist {

// The values of a save's variables, what keeps the variables alive, and for how long the variables
// were locked together.
struct SavedVariables {
  std::vector<PinnedVariables> pins;
  std::vector<SourceValue> values;  // in the order of the pins
  double lock_seconds = 0;
  std::optional<Instant> instant;  // if all are of one
};

// The variables, nothing taken of them yet. FailedPrecondition, as below, where there is none.
absl::StatusOr<SavedVariables> PinnedValues(std::vector<PinnedVariables> pins);

// The error for one of the values, by its index, that has no value.
absl::Status MissingValueError(const SavedVariables& saved, size_t index);

// FailedPrecondition, naming it as ReadVariableOp does, where a variable has no value. `options`:
// how all variables are taken at one instant; null: those in copy-on-read mode are read later.
absl::StatusOr<SavedVariables> ReferenceVariables(std::vector<PinnedVariables> pins,
                                                  const InstantOptions* options = nullptr);

// What an op hands to another of the same process in a variant, once.
class ReferencedVariables {
 public:
  ReferencedVariables() = default;
  explicit ReferencedVariables(SavedVariables variables) : box_(std::make_shared<Box>()) {
    box_->variables = std::move(variables);
  }

  // Whoever takes them decides how long the values live. FailedPrecondition the second time.
  absl::StatusOr<SavedVariables> Take() const;

  // What a variant asks of its values; as for PinnedVariables.
  std::string TypeName() const { return "autodist::ReferencedVariables"; }
  void Encode(tensorflow::VariantTensorData* data) const { data->set_type_name(TypeName()); }
  bool Decode(const tensorflow::VariantTensorData&) { return false; }
  std::string DebugString() const { return TypeName(); }

 private:
  struct Box {
    std::mutex mutex;
    bool is_taken = false;
    SavedVariables variables;
  };

  std::shared_ptr<Box> box_;
};

// The variables of the inputs [first, first + count). Inputs from AutodistPinVariables are referred
// to now. One input from AutodistReferenceVariables has been.
// `options` is as in ReferenceVariables().
absl::StatusOr<SavedVariables> VariablesInput(tensorflow::OpKernelContext* context, int first,
                                              int count, const InstantOptions* options = nullptr);

// The same inputs, where they come from AutodistPinVariables.
absl::StatusOr<std::vector<PinnedVariables>> AllPinsInput(tensorflow::OpKernelContext* context,
                                                          int first, int count);

}  // namespace autodist

#endif  // AUTODIST_OPS_SAVE_REFERENCED_VARIABLES_H_
