#include "accelerators/accelerator.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "tensorflow/core/common_runtime/dma_helper.h"
#include "tensorflow/core/framework/allocator.h"
#include "versions/tensorflow_versions.h"

namespace autodist {

using tensorflow::Tensor;

namespace {

constexpr absl::string_view kOtherDevices =
    "set AUTODIST_ACCELERATORS to the types of other devices, or to nothing";

}  // namespace

absl::StatusOr<Tensor> PartOf(const Tensor& tensor, int64_t begin, int64_t size) {
  const int64_t total = static_cast<int64_t>(tensor.TotalBytes());
  if (!tensorflow::DataTypeCanUseMemcpy(tensor.dtype()) || begin < 0 || size < 0 || begin > total ||
      size > total - begin) {
    return absl::InvalidArgumentError(absl::StrCat("a ", tensorflow::DataTypeString(tensor.dtype()),
                                                   " of ", total, " bytes has no bytes ", begin,
                                                   " to ", begin + size));
  }
  Tensor bytes;
  const absl::Status status =
      bytes.BitcastFrom(tensor, tensorflow::DT_UINT8, tensorflow::TensorShape({total}));
  if (!status.ok()) return status;
  return bytes.Slice(begin, begin + size);
}

Accelerator::Accelerator(tensorflow::Device* device, tensorflow::DeviceContext* context,
                         tensorflow::Allocator* host_allocator)
    : device_(device), context_((context->Ref(), context)), ring_(host_allocator) {}

absl::StatusOr<std::shared_ptr<Accelerator>> Accelerator::Create(
    tensorflow::Device* device, tensorflow::DeviceContext* context) {
  if (device == nullptr || context == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(device == nullptr ? "a device" : device->name(),
                     " offers no way to copy its memory: ", kOtherDevices));
  }
  tensorflow::AllocatorAttributes attributes;
  attributes.set_on_host(true);
  attributes.set_gpu_compatible(true);
  return std::shared_ptr<Accelerator>(
      new Accelerator(device, context, device->GetAllocator(attributes)));
}

absl::Status Accelerator::Located(const absl::Status& status) const {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(name(), ": ", status.message()));
}

absl::StatusOr<Tensor> Accelerator::NewTensor(tensorflow::DataType dtype,
                                              const tensorflow::TensorShape& shape) const {
  Tensor tensor(device_->GetAllocator(tensorflow::AllocatorAttributes()), dtype, shape);
  if (shape.num_elements() == 0) return tensor;
  if (!tensor.IsInitialized()) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory on ", name(), " for a ",
                                                     tensorflow::DataTypeString(dtype),
                                                     " of shape ", shape.DebugString()));
  }
  const absl::Status status = CheckMemory(tensor);
  if (!status.ok()) return status;
  return tensor;
}

absl::Status Accelerator::CheckMemory(const Tensor& tensor) const {
  if (tensor.TotalBytes() == 0) return absl::OkStatus();
  // A part of a buffer does not tell what memory the whole is.
  Tensor same(tensor);
  const auto kind = tensorflow::DMAHelper::buffer(&same)->root_buffer()->GetMemoryType();
  if (kind == tensorflow::AllocatorMemoryType::kDevice) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(name(), ": a tensor lies in memory of kind ", static_cast<int>(kind),
                   ", not in memory of the device whose parts can be copied: ", kOtherDevices));
}

void Accelerator::CopyToHost(const Tensor& from, Tensor* to, Done done) const {
  context_->CopyDeviceTensorToCPU(
      &from, "autodist", device_, to,
      [this, to, size = from.TotalBytes(), done = std::move(done)](const absl::Status& status) {
        if (status.ok() && to->TotalBytes() != size) {
          done(Located(absl::InternalError("a copy has another size")));
        } else {
          done(Located(status));
        }
      });
}

void Accelerator::CopyToDevice(const Tensor& from, Tensor* to, Done done) const {
  const void* const memory = to->data();
  const auto check = [this, to, memory](const absl::Status& status) {
    if (!status.ok() || to->data() == memory) return Located(status);
    return Located(absl::FailedPreconditionError(absl::StrCat(
        "a copy to the device went to other memory than it was told: ", kOtherDevices)));
  };
  if (!MergesHostToDeviceStream(*device_)) {
    context_->CopyCPUTensorToDevice(
        &from, device_, to,
        [check, done = std::move(done)](const absl::Status& status) { done(check(status)); },
        /*sync_dst_compute=*/true);
    return;
  }
  // TensorFlow then reports the end of a copy when the copy is queued (2.21, gpu_util.cc).
  CopyEnd end;
  context_->CopyCPUTensorToDevice(
      &from, device_, to, [&end](const absl::Status& status) { end.Report(status); },
      /*sync_dst_compute=*/true);
  absl::Status status = end.Wait();
  if (status.ok()) status = device_->Sync();
  done(check(status));
}

absl::Status Accelerator::CopyInside(const Tensor& from, Tensor* to) const {
  if (from.TotalBytes() == 0) return absl::OkStatus();
  const void* const memory = to->data();
  CopyEnd end;
  context_->CopyTensorInSameDevice(&from, device_, to,
                                   [&end](const absl::Status& status) { end.Report(status); });
  const absl::Status status = end.Wait();
  if (status.ok() && to->data() != memory) {
    return Located(absl::FailedPreconditionError(absl::StrCat(
        "a copy on the device went to other memory than it was told: ", kOtherDevices)));
  }
  return Located(status);
}

void CopyEnd::Report(const absl::Status& status) {
  const std::lock_guard<std::mutex> lock(mutex_);
  status_ = status;
  has_ended_ = true;
  // Under the lock: whoever waits may free this as soon as it has the lock.
  ended_.notify_all();
}

absl::Status CopyEnd::Wait() {
  std::unique_lock<std::mutex> lock(mutex_);
  ended_.wait(lock, [this] { return has_ended_; });
  return status_;
}

}  // namespace autodist
