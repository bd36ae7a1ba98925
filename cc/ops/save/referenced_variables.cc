// Takes the values of all variables of a save that can be referred to, at one instant.

#include "ops/save/referenced_variables.h"

#include <optional>

#include "ops/kernel_inputs.h"
#include "tensorflow/core/framework/variant.h"

namespace autodist {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;

absl::StatusOr<SavedVariables> PinnedValues(std::vector<PinnedVariables> pins) {
  SavedVariables saved;
  for (const PinnedVariables& each : pins) {
    for (const PinnedVariable& one : each.variables()) {
      if (one.variable == nullptr) return UninitializedError(one.handle, "there is none");
      saved.values.emplace_back();
      saved.values.back().variable = one.variable.get();
      if (one.accelerator == nullptr) continue;
      saved.values.back().accelerator = one.accelerator;
      saved.values.back().name = one.handle.name();
    }
  }
  saved.pins = std::move(pins);
  return saved;
}

absl::Status MissingValueError(const SavedVariables& saved, size_t index) {
  for (const PinnedVariables& each : saved.pins) {
    if (index < each.variables().size()) {
      return UninitializedError(each.variables()[index].handle, "the variable has no value");
    }
    index -= each.variables().size();
  }
  return absl::InternalError("a variable that is not saved has no value");
}

absl::StatusOr<SavedVariables> ReferenceVariables(std::vector<PinnedVariables> pins,
                                                  const InstantOptions* options) {
  absl::StatusOr<SavedVariables> saved = PinnedValues(std::move(pins));
  if (!saved.ok()) return saved;
  std::optional<size_t> missing;
  if (options == nullptr) {
    missing = ReferenceValues(&saved->values, &saved->lock_seconds);
  } else {
    absl::StatusOr<Instant> instant = TakeInstant(&saved->values, *options);
    if (!instant.ok()) return instant.status();
    missing = instant->missing;
    saved->lock_seconds = instant->lock_seconds;
    saved->instant = *std::move(instant);
  }
  if (missing.has_value()) return MissingValueError(*saved, *missing);
  return saved;
}

absl::StatusOr<SavedVariables> ReferencedVariables::Take() const {
  if (box_ != nullptr) {
    std::lock_guard<std::mutex> lock(box_->mutex);
    if (!std::exchange(box_->is_taken, true)) return std::move(box_->variables);
  }
  return absl::FailedPreconditionError(
      "the value of an AutodistReferenceVariables can be taken by one op, once");
}

absl::StatusOr<SavedVariables> VariablesInput(OpKernelContext* context, int first, int count,
                                              const InstantOptions* options) {
  if (count == 1) {
    const Tensor& tensor = context->input(first);
    const ReferencedVariables* referenced =
        tensor.NumElements() == 1 ? tensor.flat<tensorflow::Variant>()(0).get<ReferencedVariables>()
                                  : nullptr;
    if (referenced != nullptr) return referenced->Take();
  }
  absl::StatusOr<std::vector<PinnedVariables>> pins = AllPinsInput(context, first, count);
  if (!pins.ok()) return pins.status();
  return ReferenceVariables(*std::move(pins), options);
}

absl::StatusOr<std::vector<PinnedVariables>> AllPinsInput(OpKernelContext* context, int first,
                                                          int count) {
  std::vector<PinnedVariables> all;
  for (int i = first; i < first + count; ++i) {
    absl::StatusOr<const PinnedVariables*> pins = PinsInput(context, i);
    if (!pins.ok()) return pins.status();
    all.push_back(**pins);
  }
  return all;
}

}  // namespace autodist
