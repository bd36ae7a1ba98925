// The memory of an accelerator, such as a GPU: how tensors are made there, and how their bytes are
// copied. docs/design/accelerators.md says what a save and a restore do with it.
//
// All copies go through TensorFlow's own DeviceContext. It makes a copy wait for all that the
// device was told to compute before, and reports its end by a callback. The callback comes from a
// thread of TensorFlow, so it never waits.

#ifndef AUTODIST_ACCELERATORS_ACCELERATOR_H_
#define AUTODIST_ACCELERATORS_ACCELERATOR_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "accelerators/pinned_ring.h"
#include "tensorflow/core/common_runtime/device.h"
#include "tensorflow/core/framework/device_base.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/platform/refcount.h"

namespace autodist {

// Bytes [begin, begin + size) of a tensor, as a tensor in the same memory. InvalidArgument if the
// tensor has no such bytes, or has elements that are more than bytes.
absl::StatusOr<tensorflow::Tensor> PartOf(const tensorflow::Tensor& tensor, int64_t begin,
                                          int64_t size);

// Thread-safe.
class Accelerator {
 public:
  using Done = std::function<void(const absl::Status&)>;

  // `device` outlives this object. Takes a reference to `context`, which is that of the device's
  // ops. FailedPrecondition if there is none.
  static absl::StatusOr<std::shared_ptr<Accelerator>> Create(tensorflow::Device* device,
                                                             tensorflow::DeviceContext* context);

  // The host memory through which bytes pass.
  PinnedRing& ring() { return ring_; }

  // The whole name of the device.
  const std::string& name() const { return device_->name(); }

  // A tensor in the memory of the device. ResourceExhausted if there is not enough.
  absl::StatusOr<tensorflow::Tensor> NewTensor(tensorflow::DataType dtype,
                                               const tensorflow::TensorShape& shape) const;

  // FailedPrecondition unless the bytes of `tensor` lie in memory of the device that pointers
  // address: only then a part of it can be copied.
  absl::Status CheckMemory(const tensorflow::Tensor& tensor) const;

  // Begins to copy `from`, on the device, to `to`, of the same size on the host. Both must live
  // until `done` is called. Afterwards `to` has the bytes, perhaps in other memory.
  void CopyToHost(const tensorflow::Tensor& from, tensorflow::Tensor* to, Done done) const;

  // Begins to copy `from`, on the host, into the memory of `to`, of the same size on the device.
  // Both must live until `done` is called. Then `from` can be written again.
  void CopyToDevice(const tensorflow::Tensor& from, tensorflow::Tensor* to, Done done) const;

  // Copies `from` into the memory of `to`; both are on the device and have the same size. When this
  // returns, the copy may be under way, but all that the device is told to compute later finds
  // `from` copied.
  absl::Status CopyInside(const tensorflow::Tensor& from, tensorflow::Tensor* to) const;

 private:
  Accelerator(tensorflow::Device* device, tensorflow::DeviceContext* context,
              tensorflow::Allocator* host_allocator);

  absl::Status Located(const absl::Status& status) const;

  tensorflow::Device* const device_;
  const tensorflow::core::RefCountPtr<tensorflow::DeviceContext> context_;
  PinnedRing ring_;
};

// The end of a copy, which one thread reports and others wait for.
class CopyEnd {
 public:
  void Report(const absl::Status& status);
  absl::Status Wait();

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  bool has_ended_ = false;
  absl::Status status_;
};

}  // namespace autodist

#endif  // AUTODIST_ACCELERATORS_ACCELERATOR_H_
