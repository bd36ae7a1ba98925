// The device of cc/accelerators/testing/hidden_device.h as a plugin of TensorFlow, and ops that
// update variables there. Loaded by `tf.load_library` before the first session.
//
// HIDDEN_DEVICES says how many there are; none if it is not set.

#include "accelerators/testing/hidden_device.h"

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "tensorflow/core/common_runtime/device_factory.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_var.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/framework/tensor_util.h"

namespace {

using autodist::testing::HiddenDevice;
using autodist::testing::HiddenMemory;
using autodist::testing::HiddenState;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;

constexpr char kType[] = "HIDDEN";
constexpr int kPriority = 220;  // above the CPU's

int DeviceCount() {
  const char* const count = std::getenv("HIDDEN_DEVICES");
  return count == nullptr ? 0 : std::atoi(count);
}

class HiddenDeviceFactory : public tensorflow::DeviceFactory {
 public:
  absl::Status ListPhysicalDevices(std::vector<std::string>* devices) override {
    for (int i = 0; i < DeviceCount(); ++i) {
      devices->push_back(absl::StrCat("/physical_device:", kType, ":", i));
    }
    return absl::OkStatus();
  }
  absl::Status CreateDevices(const tensorflow::SessionOptions& options, const std::string& prefix,
                             std::vector<std::unique_ptr<tensorflow::Device>>* devices) override {
    for (int i = 0; i < DeviceCount(); ++i) {
      devices->push_back(std::make_unique<HiddenDevice>(
          options, absl::StrCat(prefix, "/device:", kType, ":", i), kType));
    }
    return absl::OkStatus();
  }
};

REGISTER_LOCAL_DEVICE_FACTORY(kType, HiddenDeviceFactory, kPriority);

REGISTER_OP("HiddenAdd")
    .Input("variable: resource")
    .Input("delta: float")
    .Attr("in_place: bool")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext*) { return absl::OkStatus(); });

// Adds a number to all elements of a variable of floats, as TensorFlow's updates do: a dense one
// copies first if somebody refers to the memory; an update by rows sets copy-on-read mode.
class HiddenAddOp : public tensorflow::OpKernel {
 public:
  explicit HiddenAddOp(tensorflow::OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("in_place", &in_place_));
  }

  void Compute(OpKernelContext* context) override {
    tensorflow::core::RefCountPtr<tensorflow::Var> variable;
    OP_REQUIRES_OK(context, tensorflow::LookupResource(
                                context, tensorflow::HandleFromInput(context, 0), &variable));
    const float delta = context->input(1).scalar<float>()();
    auto* const device = static_cast<HiddenDevice*>(context->device()->UnderlyingDevice());
    tensorflow::mutex_lock lock(*variable->mu());
    Tensor& value = *variable->tensor();
    const bool may_be_seen = !variable->copy_on_read_mode.load() && !value.RefCountIsOne();
    if (in_place_) variable->copy_on_read_mode = true;
    Tensor result = value;
    if (may_be_seen) result = Tensor(device->GetAllocator({}), value.dtype(), value.shape());
    const int64_t count = value.NumElements();
    const auto* const from = Floats(value);
    auto* const to = Floats(result);
    device->context()->queue().Add([=] {
      for (int64_t i = 0; i < count; ++i) to[i] = from[i] + delta;
    });
    value = result;
  }

 private:
  static float* Floats(const Tensor& tensor) {
    return reinterpret_cast<float*>(
        HiddenMemory::Get().AsDevice(tensor.data(), static_cast<int64_t>(tensor.TotalBytes())));
  }

  bool in_place_;
};

REGISTER_KERNEL_BUILDER(
    Name("HiddenAdd").Device(kType).HostMemory("variable").HostMemory("delta"), HiddenAddOp);

// What `tf.zeros` runs, beside the variable that it initializes: all bytes are 0.
class HiddenZerosOp : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;
  void Compute(OpKernelContext* context) override {
    tensorflow::TensorShape shape;
    OP_REQUIRES_OK(context, tensorflow::tensor::MakeShape(context->input(0), &shape));
    auto* const device = static_cast<HiddenDevice*>(context->device()->UnderlyingDevice());
    Tensor zeros(device->GetAllocator({}), context->expected_output_dtype(0), shape);
    const size_t size = zeros.TotalBytes();
    char* const bytes = HiddenMemory::Get().AsDevice(zeros.data(), static_cast<int64_t>(size));
    device->context()->queue().Add([=] { std::memset(bytes, 0, size); });
    context->set_output(0, zeros);
  }
};

REGISTER_KERNEL_BUILDER(Name("Fill").Device(kType).HostMemory("dims").HostMemory("value"),
                        HiddenZerosOp);

std::atomic<int64_t>* Number(const std::string& name) {
  auto& state = HiddenState();
  if (name == "memory_bytes") return &state.memory_bytes;
  if (name == "used_bytes") return &state.used_bytes;
  if (name == "copy_us") return &state.copy_us;
  if (name == "failing_copy") return &state.failing_copy;
  if (name == "copies_out") return &state.copies_out;
  if (name == "copies_in") return &state.copies_in;
  if (name == "copies_inside") return &state.copies_inside;
  if (name == "largest_copy_bytes") return &state.largest_copy_bytes;
  if (name == "pending_bytes") return &state.pending_bytes;
  if (name == "most_pending_bytes") return &state.most_pending_bytes;
  if (name == "pinned_bytes") return &state.pinned_bytes;
  if (name == "most_pinned_bytes") return &state.most_pinned_bytes;
  std::abort();
}

// What another process counts.
REGISTER_OP("HiddenNumber")
    .Output("number: int64")
    .Attr("counter: string")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::ScalarShape);

class HiddenNumberOp : public tensorflow::OpKernel {
 public:
  explicit HiddenNumberOp(tensorflow::OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("counter", &name_));
  }
  void Compute(OpKernelContext* context) override {
    Tensor* number;
    OP_REQUIRES_OK(context, context->allocate_output(0, {}, &number));
    number->scalar<int64_t>()() = *Number(name_);
  }

 private:
  std::string name_;
};

REGISTER_KERNEL_BUILDER(Name("HiddenNumber").Device(tensorflow::DEVICE_CPU), HiddenNumberOp);

}  // namespace

// For ctypes.
extern "C" int64_t hidden_get(const char* name) { return *Number(name); }
extern "C" void hidden_set(const char* name, int64_t value) {
  if (std::string(name) == "hands_on") {
    HiddenState().hands_on = value != 0;
  } else if (std::string(name) == "tells_memory") {
    HiddenState().tells_memory = value != 0;
  } else {
    *Number(name) = value;
  }
}
