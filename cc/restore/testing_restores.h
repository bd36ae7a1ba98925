// Targets in memory, and checkpoints by TensorFlow's own writer that are loaded into them.

#ifndef AUTODIST_RESTORE_TESTING_RESTORES_H_
#define AUTODIST_RESTORE_TESTING_RESTORES_H_

#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/testing/testing.h"
#include "format/values/shape_and_slice.h"
#include "format/values/testing_tensors.h"
#include "restore/bundle_loader.h"
#include "storage/testing/testing_directory.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/util/tensor_bundle/tensor_bundle.h"

namespace autodist::testing {

using tensorflow::DataType;
using tensorflow::Tensor;

// Targets in memory. A live one has a value, and memory of its own.
class MemoryTargets : public RestoreTargets {
 public:
  struct Slot {
    bool is_live = false;
    bool has_value = false;
    Tensor value;
    const char* memory = nullptr;      // that the value had before
    std::optional<Tensor> fresh = {};  // of a live one: what replaces the value
  };

  int AddFresh() {
    slots_.emplace_back();
    return static_cast<int>(slots_.size()) - 1;
  }
  int AddLive(Tensor value) {
    const char* memory = BytesOf(value);
    slots_.push_back({true, true, std::move(value), memory});
    return static_cast<int>(slots_.size()) - 1;
  }
  const Slot& slot(int target) const { return slots_[target]; }
  int size() const { return static_cast<int>(slots_.size()); }

  // Called with how often targets were opened before.
  std::function<absl::Status(int)> on_open = [](int) { return absl::OkStatus(); };
  // Likewise for new memory.
  std::function<absl::Status(int)> on_allocate = [](int) { return absl::OkStatus(); };
  int open_count() const { return open_count_; }
  int open_now() const { return open_now_; }

  bool IsLive(int target, DataType, const tensorflow::TensorShape&) override {
    return slots_[target].is_live;
  }

  absl::StatusOr<Tensor> Allocate(int target, DataType dtype,
                                  const tensorflow::TensorShape& shape) override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      const absl::Status status = on_allocate(allocate_count_++);
      if (!status.ok()) return status;
    }
    Slot& slot = slots_[target];
    if (slot.is_live) {
      EXPECT_TRUE(!slot.fresh);
      slot.fresh = Tensor(dtype, shape);
      return *slot.fresh;
    }
    EXPECT_TRUE(!slot.has_value);
    slot.value = Tensor(dtype, shape);
    slot.has_value = true;
    return slot.value;
  }

  void Discard(int target) override {
    Slot& slot = slots_[target];
    if (slot.is_live) {
      slot.fresh.reset();
      return;
    }
    slot.value = Tensor();
    slot.has_value = false;
  }

  // Makes new memory of live targets visible.
  void Publish() {
    for (Slot& slot : slots_) {
      if (!slot.fresh) continue;
      EXPECT_TRUE(slot.has_value);
      slot.value = *std::exchange(slot.fresh, std::nullopt);
    }
  }

  absl::StatusOr<std::unique_ptr<OpenTargets>> Open(
      absl::Span<const int> targets, DataType dtype,
      absl::Span<const tensorflow::TensorShape> shapes) override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      const absl::Status status = on_open(open_count_++);
      if (!status.ok()) return status;
    }
    EXPECT_EQ(targets.size(), shapes.size());
    for (size_t i = 0; i < targets.size(); ++i) {
      EXPECT_TRUE(slots_[targets[i]].value.dtype() == dtype);
      EXPECT_TRUE(slots_[targets[i]].value.shape() == shapes[i]);
    }
    return std::unique_ptr<OpenTargets>(
        std::make_unique<Opened>(this, std::vector<int>(targets.begin(), targets.end())));
  }

  void Withdraw(int target) override {
    EXPECT_TRUE(slots_[target].is_live);
    EXPECT_EQ(open_now_, 0);
    slots_[target].has_value = false;
  }

 private:
  class Opened : public OpenTargets {
   public:
    Opened(MemoryTargets* owner, std::vector<int> targets)
        : owner_(*owner), targets_(std::move(targets)) {
      for (int target : targets_) {
        tensors_.push_back(owner_.slots_[target].value);
        owner_.slots_[target].has_value = false;
      }
      std::lock_guard<std::mutex> lock(owner_.mutex_);
      ++owner_.open_now_;
    }
    void Finish() override {
      for (int target : targets_) owner_.slots_[target].has_value = true;
    }
    ~Opened() override {
      std::lock_guard<std::mutex> lock(owner_.mutex_);
      --owner_.open_now_;
    }

   private:
    MemoryTargets& owner_;
    const std::vector<int> targets_;
  };

  std::vector<Slot> slots_;
  std::mutex mutex_;
  int open_count_ = 0;
  int allocate_count_ = 0;
  int open_now_ = 0;
};

// Variables, a checkpoint of them by TensorFlow's own writer, and targets that want them.
class Exercise {
 public:
  // Stores `whole` as `stored` and wants it as `wanted`, each box in so many replicas. `live` tells
  // for each target whether it has a value; that value differs from the stored one.
  void Add(const std::string& name, const Tensor& whole, const Dims& shape,
           const std::vector<Box>& stored, const std::vector<Box>& wanted, int replicas,
           const std::function<bool()>& live) {
    if (stored.size() == 1) {
      EXPECT_EQ(writer_->Add(name, whole), absl::OkStatus());
    } else {
      for (const Box& box : stored) {
        EXPECT_EQ(writer_->AddSlice(name, tensorflow::TensorShape(shape), SliceOfBox(shape, box),
                                    Cut(whole, shape, box)),
                  absl::OkStatus());
      }
    }
    for (const Box& box : wanted) {
      entries_.push_back({name, SliceSpec(shape, box), whole.dtype(), targets.size(), replicas});
      const Tensor part = Cut(whole, shape, box);
      for (int i = 0; i < replicas; ++i) {
        expected_.push_back(part);
        if (whole.dtype() == tensorflow::DT_STRING || !live()) {
          targets.AddFresh();
          continue;
        }
        Tensor former(part.dtype(), part.shape());
        std::memset(BytesOf(former), 0x5a, former.tensor_data().size());
        targets.AddLive(former);
      }
    }
  }

  void AddWhole(const std::string& name, const Tensor& whole, bool is_live) {
    const Dims shape = DimsOf(whole.shape());
    Add(name, whole, shape, {Box::Whole(shape)}, {Box::Whole(shape)}, 1, [=] { return is_live; });
  }

  void Write() {
    EXPECT_EQ(writer_->Finish(), absl::OkStatus());
    writer_.reset();
  }

  absl::StatusOr<LoadReport> Load(const LoadOptions& options) {
    const std::string prefix = scheme + prefix_;
    absl::StatusOr<BundleIndex> index = ReadBundleIndex(prefix);
    if (!index.ok()) return index.status();
    absl::StatusOr<RestorePlan> plan = BuildRestorePlan(*index, entries_);
    if (!plan.ok()) return plan.status();
    absl::StatusOr<LoadReport> report = LoadBundle(prefix, *index, *plan, &targets, options);
    EXPECT_EQ(targets.open_now(), 0);
    return report;
  }

  // Whether every target has the stored value; the live ones where they had theirs.
  void ExpectLoaded() {
    for (int i = 0; i < targets.size(); ++i) {
      const auto& slot = targets.slot(i);
      EXPECT_TRUE(slot.has_value && AreEqual(slot.value, expected_[i]));
      if (slot.is_live) EXPECT_TRUE(!slot.fresh && BytesOf(slot.value) == slot.memory);
    }
  }

  // Whether the stored values are in new memory: no live target was opened, and each has its former
  // value until the new memory is visible.
  void ExpectLoadedToSwap() {
    EXPECT_TRUE(IsUntouched());
    EXPECT_EQ(targets.open_count(), 0);
    targets.Publish();
    for (int i = 0; i < targets.size(); ++i) {
      const auto& slot = targets.slot(i);
      EXPECT_TRUE(slot.has_value && AreEqual(slot.value, expected_[i]));
      if (slot.is_live && !slot.value.tensor_data().empty()) {
        EXPECT_TRUE(BytesOf(slot.value) != slot.memory);
      }
    }
  }

  // Whether each live target has its former value.
  bool IsUntouched() const {
    for (int i = 0; i < targets.size(); ++i) {
      const auto& slot = targets.slot(i);
      if (!slot.is_live) continue;
      if (!slot.has_value) return false;
      for (char byte : slot.value.tensor_data()) {
        if (byte != 0x5a) return false;
      }
    }
    return true;
  }

  // Whether each live target has its former value, or none.
  bool HasNoStoredValue() const {
    for (int i = 0; i < targets.size(); ++i) {
      const auto& slot = targets.slot(i);
      if (!slot.is_live || !slot.has_value) continue;
      for (char byte : slot.value.tensor_data()) {
        if (byte != 0x5a) return false;
      }
    }
    return true;
  }

  // Whether each live target has its former value, the stored one, or none.
  bool HasNoWrongValue() const {
    for (int i = 0; i < targets.size(); ++i) {
      const auto& slot = targets.slot(i);
      if (!slot.is_live || !slot.has_value || AreEqual(slot.value, expected_[i])) continue;
      for (char byte : slot.value.tensor_data()) {
        if (byte != 0x5a) return false;
      }
    }
    return true;
  }

  std::string data_path() const { return prefix_ + ".data-00000-of-00001"; }
  std::string index_path() const { return prefix_ + ".index"; }
  const std::vector<Tensor>& expected() const { return expected_; }

  MemoryTargets targets;
  std::string scheme;  // of the file system to load from; "": as it was written

 private:
  TemporaryDirectory directory_;
  const std::string prefix_ = directory_.path() + "/model";
  std::unique_ptr<tensorflow::BundleWriter> writer_ =
      std::make_unique<tensorflow::BundleWriter>(tsl::Env::Default(), prefix_);
  std::vector<RestoreEntry> entries_;
  std::vector<Tensor> expected_;
};

inline void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), bytes.size());
}

inline LoadOptions Options(int threads, Verify verify = Verify::kBefore) {
  LoadOptions options;
  options.threads = threads;
  options.verify = verify;
  return options;
}

}  // namespace autodist::testing

#endif  // AUTODIST_RESTORE_TESTING_RESTORES_H_
