// Where the values of a restore go, seen from the loader.
//
// A target is one shard or replica, or a tensor, known by its number. Some are live: they hold a
// value that others see, in memory that can be written again. The others get new memory, which
// nobody sees before everything has been read and found right.

#ifndef AUTODIST_RESTORE_RESTORE_TARGETS_H_
#define AUTODIST_RESTORE_RESTORE_TARGETS_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "accelerators/accelerator.h"
#include "tensorflow/core/framework/tensor.h"

namespace autodist {

// Live targets that are being written. Until Finish() they have no value: if this object is
// destroyed before, they stay without one. Destroyed by the thread that made it.
class OpenTargets {
 public:
  virtual ~OpenTargets() = default;

  // Their memory, in the order they were asked for.
  const std::vector<tensorflow::Tensor>& tensors() const { return tensors_; }

  // Makes what was written their values.
  virtual void Finish() = 0;

 protected:
  std::vector<tensorflow::Tensor> tensors_;
};

// Thread-safe.
class RestoreTargets {
 public:
  virtual ~RestoreTargets() = default;

  // Whether `target` is live, as a `dtype` of `shape`. The answer does not change.
  virtual bool IsLive(int target, tensorflow::DataType dtype,
                      const tensorflow::TensorShape& shape) = 0;

  // New memory for a target. Called once for each, again after Discard(). A live one keeps its
  // value and its memory until the new memory is made visible.
  virtual absl::StatusOr<tensorflow::Tensor> Allocate(int target, tensorflow::DataType dtype,
                                                      const tensorflow::TensorShape& shape) = 0;

  // Frees the new memory of a target, if it has some.
  virtual void Discard(int target) = 0;

  // Whose memory a target is filled in; null: the host's.
  virtual std::shared_ptr<Accelerator> accelerator(int target) const {
    (void)target;
    return nullptr;
  }

  // Keeps everyone else from some live targets, which get values of this dtype and these shapes.
  // While a thread has targets open it opens no others.
  virtual absl::StatusOr<std::unique_ptr<OpenTargets>> Open(
      absl::Span<const int> targets, tensorflow::DataType dtype,
      absl::Span<const tensorflow::TensorShape> shapes) = 0;

  // Takes the value of a live target, if it has one. REQUIRES: it is not open.
  virtual void Withdraw(int target) = 0;
};

}  // namespace autodist

#endif  // AUTODIST_RESTORE_RESTORE_TARGETS_H_
