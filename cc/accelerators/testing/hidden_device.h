// A device whose memory the host cannot touch, for tests.
//
// Its tensors lie in pages that may be neither read nor written; the device sees the same memory at
// other addresses. So a program that takes a tensor of the device for one of the host ends by
// SIGSEGV. All that the device does, it does one after the other, on a thread of its own: its
// stream. As on a GPU, whoever asks for it does not wait.

#ifndef AUTODIST_ACCELERATORS_TESTING_HIDDEN_DEVICE_H_
#define AUTODIST_ACCELERATORS_TESTING_HIDDEN_DEVICE_H_

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tensorflow/core/common_runtime/local_device.h"
#include "tensorflow/core/framework/allocator.h"
#include "tensorflow/core/framework/device_base.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/tensor.pb.h"
#include "tensorflow/core/public/session_options.h"

namespace autodist::testing {

// What tests set and read; one for the process.
struct HiddenDeviceState {
  std::atomic<int64_t> memory_bytes{512 << 20};  // of the device
  std::atomic<int64_t> used_bytes{0};            // of these
  std::atomic<int64_t> copy_us{0};               // how long a copy takes at least
  std::atomic<int64_t> failing_copy{-1};         // the number of the copy that fails, from now on
  std::atomic<int64_t> copies_out{0};            // to the host
  std::atomic<int64_t> copies_in{0};             // from it
  std::atomic<int64_t> copies_inside{0};
  std::atomic<int64_t> largest_copy_bytes{0};  // between device and host
  std::atomic<int64_t> pending_bytes{0};       // of these, now
  std::atomic<int64_t> most_pending_bytes{0};
  std::atomic<int64_t> pinned_bytes{0};  // host memory that the device copies to and from, now
  std::atomic<int64_t> most_pinned_bytes{0};
  std::atomic<bool> hands_on{false};  // whether copies hand tensors on
  std::atomic<bool> tells_memory{true};
};

inline HiddenDeviceState& HiddenState() {
  static auto* const state = new HiddenDeviceState;
  return *state;
}

inline void NoteMost(std::atomic<int64_t>* most, int64_t value) {
  int64_t before = most->load();
  while (before < value && !most->compare_exchange_weak(before, value)) {
  }
}

// The memory: pages that nobody may touch, and the same pages for the device.
class HiddenMemory {
 public:
  static HiddenMemory& Get() {
    static auto* const memory = new HiddenMemory;
    return *memory;
  }

  void* Allocate(int64_t size) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const int64_t rounded = std::max<int64_t>((size + 255) / 256 * 256, 256);
    int64_t& used = used_;
    if (used + rounded > HiddenState().memory_bytes) return nullptr;
    // The first gap that is large enough.
    int64_t begin = 0;
    for (const auto& [at, taken] : taken_) {
      if (at - begin >= rounded) break;
      begin = at + taken;
    }
    if (begin + rounded > kBytes) return nullptr;
    taken_[begin] = rounded;
    used += rounded;
    HiddenState().used_bytes = used;
    return hidden_ + begin;
  }

  void Free(void* memory) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = taken_.find(static_cast<char*>(memory) - hidden_);
    used_ -= found->second;
    taken_.erase(found);
    HiddenState().used_bytes = used_;
  }

  // Where the device finds memory; null if it is not its own.
  char* AsDevice(const void* memory, int64_t size) const {
    const char* const at = static_cast<const char*>(memory);
    if (at < hidden_ || at + size > hidden_ + kBytes) return nullptr;
    return seen_ + (at - hidden_);
  }

 private:
  static constexpr int64_t kBytes = int64_t{1} << 30;

  HiddenMemory() {
    const int file = memfd_create("hidden", MFD_CLOEXEC);
    if (ftruncate(file, kBytes) != 0) std::abort();
    hidden_ = static_cast<char*>(mmap(nullptr, kBytes, PROT_NONE, MAP_SHARED, file, 0));
    seen_ = static_cast<char*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    if (hidden_ == MAP_FAILED || seen_ == MAP_FAILED) std::abort();
    close(file);
  }

  char* hidden_;
  char* seen_;
  std::mutex mutex_;
  std::map<int64_t, int64_t> taken_;
  int64_t used_ = 0;
};

class HiddenAllocator : public tensorflow::Allocator {
 public:
  std::string Name() override { return "hidden"; }
  void* AllocateRaw(size_t, size_t size) override {
    return HiddenMemory::Get().Allocate(static_cast<int64_t>(size));
  }
  void DeallocateRaw(void* memory) override { HiddenMemory::Get().Free(memory); }
  tensorflow::AllocatorMemoryType GetMemoryType() const override {
    return HiddenState().tells_memory ? tensorflow::AllocatorMemoryType::kDevice
                                      : tensorflow::AllocatorMemoryType::kUnknown;
  }
};

// Host memory, which it counts.
class PinnedAllocator : public tensorflow::Allocator {
 public:
  std::string Name() override { return "pinned"; }
  void* AllocateRaw(size_t alignment, size_t size) override {
    void* const memory = tensorflow::cpu_allocator()->AllocateRaw(alignment, size);
    const std::lock_guard<std::mutex> lock(mutex_);
    sizes_[memory] = size;
    HiddenState().pinned_bytes += size;
    NoteMost(&HiddenState().most_pinned_bytes, HiddenState().pinned_bytes);
    return memory;
  }
  void DeallocateRaw(void* memory) override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      HiddenState().pinned_bytes -= sizes_[memory];
      sizes_.erase(memory);
    }
    tensorflow::cpu_allocator()->DeallocateRaw(memory);
  }
  tensorflow::AllocatorMemoryType GetMemoryType() const override {
    return tensorflow::AllocatorMemoryType::kHostPinned;
  }

 private:
  std::mutex mutex_;
  std::map<void*, size_t> sizes_;
};

// Does what it is told, in order.
class HiddenStream {
 public:
  HiddenStream() : thread_([this] { Run(); }) {}
  ~HiddenStream() {
    Add([] {});
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      is_ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  void Add(std::function<void()> work) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      work_.push_back(std::move(work));
    }
    changed_.notify_all();
  }

  void Wait() {
    std::mutex mutex;
    std::condition_variable done;
    bool is_done = false;
    Add([&] {
      const std::lock_guard<std::mutex> lock(mutex);
      is_done = true;
      done.notify_all();
    });
    std::unique_lock<std::mutex> lock(mutex);
    done.wait(lock, [&] { return is_done; });
  }

 private:
  void Run() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return is_ending_ || !work_.empty(); });
      if (work_.empty()) return;
      const std::function<void()> next = std::move(work_.front());
      work_.pop_front();
      lock.unlock();
      next();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> work_;
  bool is_ending_ = false;
  std::thread thread_;
};

class HiddenContext : public tensorflow::DeviceContext {
 public:
  void CopyCPUTensorToDevice(const tensorflow::Tensor* from, tensorflow::Device*,
                             tensorflow::Tensor* to, tensorflow::StatusCallback done,
                             bool) const override {
    if (HiddenState().hands_on) {
      *to = *from;
      done(absl::OkStatus());
      return;
    }
    const auto size = static_cast<int64_t>(from->TotalBytes());
    const char* const source = static_cast<const char*>(from->data());
    char* const target = HiddenMemory::Get().AsDevice(to->data(), size);
    ++HiddenState().copies_in;
    Transfer(*from, target, target, source, std::move(done));
  }

  void CopyDeviceTensorToCPU(const tensorflow::Tensor* from, absl::string_view, tensorflow::Device*,
                             tensorflow::Tensor* to, tensorflow::StatusCallback done) override {
    const auto size = static_cast<int64_t>(from->TotalBytes());
    char* const source = HiddenMemory::Get().AsDevice(from->data(), size);
    ++HiddenState().copies_out;
    Transfer(*from, source, static_cast<char*>(to->data()), source, std::move(done));
  }

  void CopyTensorInSameDevice(const tensorflow::Tensor* from, tensorflow::Device*,
                              tensorflow::Tensor* to,
                              tensorflow::StatusCallback done) const override {
    const auto size = static_cast<int64_t>(from->TotalBytes());
    const char* const source = HiddenMemory::Get().AsDevice(from->data(), size);
    char* const target = HiddenMemory::Get().AsDevice(to->data(), size);
    if (source == nullptr || target == nullptr) {
      done(absl::InternalError("this is not memory of the device"));
      return;
    }
    ++HiddenState().copies_inside;
    stream_.Add([=] { std::memcpy(target, source, size); });
    // As a GPU does: what is asked for later comes later.
    done(absl::OkStatus());
  }

  HiddenStream& queue() const { return stream_; }

 private:
  // Refers to `from` until the copy has ended, as TensorFlow expects.
  void Transfer(const tensorflow::Tensor& from, const char* on_device, char* target,
                const char* source, tensorflow::StatusCallback done) const {
    const auto size = static_cast<int64_t>(from.TotalBytes());
    if (on_device == nullptr && size > 0) {
      done(absl::InternalError("this is not memory of the device"));
      return;
    }
    HiddenDeviceState& state = HiddenState();
    NoteMost(&state.largest_copy_bytes, size);
    NoteMost(&state.most_pending_bytes, state.pending_bytes += size);
    stream_.Add([=, from = from, done = std::move(done)]() mutable {
      HiddenDeviceState& current = HiddenState();
      if (current.copy_us > 0) {
        std::this_thread::sleep_for(std::chrono::microseconds(current.copy_us));
      }
      const bool fails = current.failing_copy >= 0 && current.failing_copy-- == 0;
      if (!fails && size > 0) std::memcpy(target, source, size);
      current.pending_bytes -= size;
      from = tensorflow::Tensor();
      done(fails ? absl::InternalError("the link to the device is down") : absl::OkStatus());
    });
  }

  mutable HiddenStream stream_;
};

class HiddenDevice : public tensorflow::LocalDevice {
 public:
  HiddenDevice(const tensorflow::SessionOptions& options, const std::string& name,
               const std::string& type)
      : LocalDevice(options,
                    Device::BuildDeviceAttributes(name, tensorflow::DeviceType(type),
                                                  tensorflow::Bytes(256 << 20), {}, "for tests")),
        context_(new HiddenContext) {
    // Where there is none, a server sends tensors from where they are (TensorFlow 2.21).
    info_.default_context = context_;
    set_tensorflow_accelerator_device_info(&info_);
  }
  ~HiddenDevice() override { context_->Unref(); }

  tensorflow::Allocator* GetAllocator(tensorflow::AllocatorAttributes attributes) override {
    static auto* const hidden = new HiddenAllocator;
    static auto* const pinned = new PinnedAllocator;
    if (!attributes.on_host()) return hidden;
    return attributes.gpu_compatible() ? pinned : tensorflow::cpu_allocator();
  }

  absl::Status Sync() override {
    context_->queue().Wait();
    return absl::OkStatus();
  }

  absl::Status TryGetDeviceContext(tensorflow::DeviceContext** context) override {
    context_->Ref();
    *context = context_;
    return absl::OkStatus();
  }

  HiddenContext* context() const { return context_; }

  // Of a tensor on the host.
  tensorflow::Tensor Upload(const tensorflow::Tensor& value) {
    tensorflow::Tensor copy(GetAllocator({}), value.dtype(), value.shape());
    const auto size = static_cast<int64_t>(value.TotalBytes());
    char* const target = HiddenMemory::Get().AsDevice(copy.data(), size);
    context_->queue().Add([&] { std::memcpy(target, value.data(), size); });
    context_->queue().Wait();
    return copy;
  }

  absl::Status MakeTensorFromProto(const tensorflow::TensorProto& proto,
                                   const tensorflow::AllocatorAttributes attributes,
                                   tensorflow::Tensor* tensor) override {
    tensorflow::Tensor parsed(proto.dtype());
    if (!parsed.FromProto(tensorflow::cpu_allocator(), proto)) {
      return absl::InvalidArgumentError("not a tensor");
    }
    *tensor = attributes.on_host() ? parsed : Upload(parsed);
    return absl::OkStatus();
  }

 private:
  HiddenContext* const context_;
  AcceleratorDeviceInfo info_;
};

}  // namespace autodist::testing

#endif  // AUTODIST_ACCELERATORS_TESTING_HIDDEN_DEVICE_H_
