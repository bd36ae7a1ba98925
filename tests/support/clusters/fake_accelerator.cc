// A device for tests: its memory is the host's, and TensorFlow's placer prefers it to the CPU, as
// it does a GPU. Loaded by `tf.load_library` before the server starts.

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "tensorflow/core/common_runtime/device_factory.h"
#include "tensorflow/core/common_runtime/local_device.h"
#include "tensorflow/core/framework/allocator.h"
#include "tensorflow/core/framework/device_base.h"
#include "tensorflow/core/framework/tensor.h"

namespace {

using tensorflow::Device;
using tensorflow::DeviceContext;
using tensorflow::StatusCallback;
using tensorflow::Tensor;

constexpr char kType[] = "FAKE";
constexpr int kPriority = 220;  // above the CPU's

// Tensors are handed on: both memories are one.
class HostContext : public DeviceContext {
 public:
  void CopyCPUTensorToDevice(const Tensor* from, Device*, Tensor* to, StatusCallback done,
                             bool) const override {
    *to = *from;
    done(absl::OkStatus());
  }

  void CopyDeviceTensorToCPU(const Tensor* from, absl::string_view, Device*, Tensor* to,
                             StatusCallback done) override {
    *to = *from;
    done(absl::OkStatus());
  }

  void CopyTensorInSameDevice(const Tensor* from, Device*, Tensor* to,
                              StatusCallback done) const override {
    std::memcpy(const_cast<char*>(to->tensor_data().data()), from->tensor_data().data(),
                from->TotalBytes());
    done(absl::OkStatus());
  }
};

class FakeDevice : public tensorflow::LocalDevice {
 public:
  FakeDevice(const tensorflow::SessionOptions& options, const std::string& name)
      : LocalDevice(options, Device::BuildDeviceAttributes(
                                 name, kType, tensorflow::Bytes(256 << 20), {}, "for tests")),
        context_(new HostContext) {}
  ~FakeDevice() override { context_->Unref(); }

  tensorflow::Allocator* GetAllocator(tensorflow::AllocatorAttributes) override {
    return tensorflow::cpu_allocator();
  }
  absl::Status Sync() override { return absl::OkStatus(); }
  absl::Status TryGetDeviceContext(DeviceContext** context) override {
    context_->Ref();
    *context = context_;
    return absl::OkStatus();
  }
  absl::Status MakeTensorFromProto(const tensorflow::TensorProto& proto,
                                   const tensorflow::AllocatorAttributes, Tensor* tensor) override {
    Tensor parsed(proto.dtype());
    if (!parsed.FromProto(tensorflow::cpu_allocator(), proto)) {
      return absl::InvalidArgumentError("not a tensor");
    }
    *tensor = parsed;
    return absl::OkStatus();
  }

 private:
  HostContext* const context_;
};

class FakeDeviceFactory : public tensorflow::DeviceFactory {
 public:
  absl::Status ListPhysicalDevices(std::vector<std::string>* devices) override {
    devices->push_back("/physical_device:FAKE:0");
    return absl::OkStatus();
  }
  absl::Status CreateDevices(const tensorflow::SessionOptions& options, const std::string& prefix,
                             std::vector<std::unique_ptr<Device>>* devices) override {
    devices->push_back(std::make_unique<FakeDevice>(options, prefix + "/device:FAKE:0"));
    return absl::OkStatus();
  }
};

REGISTER_LOCAL_DEVICE_FACTORY(kType, FakeDeviceFactory, kPriority);

}  // namespace
