// The targets of a restore: variables, written in place where that is safe, and new tensors.
//
// A variable is live if it has a value of the dtype and shape that is restored. A restore writes it
// under its exclusive lock: in its own memory if nobody else refers to that, else in new memory,
// which replaces it. Variables that are open at once are locked in the order of their mutexes'
// addresses, TensorFlow's own rule. A variable that is left half written is removed from its
// resource manager, so the next read finds it uninitialized.

#ifndef AUTODIST_SESSIONS_VARIABLE_TARGETS_H_
#define AUTODIST_SESSIONS_VARIABLE_TARGETS_H_

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "restore/restore_targets.h"
#include "sessions/pinned_variables.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/tensor_shape.h"

namespace autodist {

// A variable, which must outlive the restore; or a tensor, if `pinned` is null.
struct RestoreTarget {
  const PinnedVariable* pinned = nullptr;
  // The static shape of the variable, or of the ref variable that takes the tensor; of unknown rank
  // if any shape fits.
  tensorflow::PartialTensorShape shape;
  // Whether a variable that has a value must keep its shape.
  bool validate_shape = false;
};

class VariableTargets : public RestoreTargets {
 public:
  explicit VariableTargets(std::vector<RestoreTarget> targets)
      : targets_(std::move(targets)), fresh_(targets_.size()) {
    // A variable that was taken is always noted.
    taken_.reserve(targets_.size());
  }

  // InvalidArgument if a target cannot become a `dtype` of `shape`.
  absl::Status CheckFits(int target, tensorflow::DataType dtype,
                         const tensorflow::TensorShape& shape) const;

  bool IsLive(int target, tensorflow::DataType dtype,
              const tensorflow::TensorShape& shape) override;
  absl::StatusOr<tensorflow::Tensor> Allocate(int target, tensorflow::DataType dtype,
                                              const tensorflow::TensorShape& shape) override;
  absl::StatusOr<std::unique_ptr<OpenTargets>> Open(
      absl::Span<const int> targets, tensorflow::DataType dtype,
      absl::Span<const tensorflow::TensorShape> shapes) override;
  void Discard(int target) override { fresh_[target] = Fresh(); }
  std::shared_ptr<Accelerator> accelerator(int target) const override {
    const PinnedVariable* const pinned = targets_[target].pinned;
    return pinned == nullptr ? nullptr : pinned->accelerator;
  }
  void Withdraw(int target) override;

  // Sets the value of a target that is not live, if it is not loaded. `tensor` is on the host.
  absl::Status Set(int target, tensorflow::Tensor tensor);

  // Takes the memory of a live target to write to, or new memory if others refer to it. The
  // variable has no value until Publish(). Called once for each, by one thread at a time.
  absl::StatusOr<tensorflow::Tensor> Take(int target, tensorflow::DataType dtype,
                                          const tensorflow::TensorShape& shape);

  // Gives each variable with new or taken memory its new value, all at one instant; none of them if
  // it fails.
  absl::Status Publish();

  // Uninitializes each variable whose memory was taken and that has got no other value since.
  void ForgetTaken() noexcept;
  // Uninitializes all variables.
  void WithdrawAll() noexcept;

  // Whether a variable that had a value may have lost it.
  bool has_touched_live() const { return has_touched_live_; }

  // The value of a target that is a tensor.
  const tensorflow::Tensor& tensor(int target) const { return fresh_[target].tensor; }

 private:
  class OpenVariables;

  struct Fresh {
    bool is_set = false;
    tensorflow::Tensor tensor;
  };

  const std::vector<RestoreTarget> targets_;
  std::vector<Fresh> fresh_;  // by target; each is written by one thread
  std::vector<int> taken_;
  std::atomic<bool> has_touched_live_ = false;
};

}  // namespace autodist

#endif  // AUTODIST_SESSIONS_VARIABLE_TARGETS_H_
