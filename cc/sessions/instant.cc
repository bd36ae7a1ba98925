// See the header for the idea, variable_sources.h for TensorFlow's rules.

#include "sessions/instant.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "images/copied_image.h"
#include "images/forked_image.h"
#include "images/protected_image.h"
#include "tensorflow/core/framework/tensor_util.h"

namespace autodist {
namespace {

using tensorflow::Tensor;
using tensorflow::Var;

// While one lock is waited for, those that are held stop training; so nobody waits for longer with
// others in hand, but begins anew a little later.
constexpr auto kLongestWait = std::chrono::milliseconds(10);
constexpr auto kPause = std::chrono::milliseconds(2);
constexpr int kMostRounds = 200;

// Variables that are given other sizes again and again, or go to another mode, while an image of
// them is prepared.
constexpr int kMostPreparations = 5;

std::unique_ptr<MemoryImage> NewImage(ImageMethod method, const InstantOptions& options) {
  switch (method) {
    case ImageMethod::kPages: {
      ProtectionOptions protection;
      protection.pool_bytes = options.memory_bytes;
      protection.spill_directory = options.spill_directory;
      return std::make_unique<ProtectedImage>(std::move(protection));
    }
    case ImageMethod::kFork:
      return std::make_unique<ForkedImage>();
    case ImageMethod::kCopy:
      return std::make_unique<CopiedImage>();
  }
  return nullptr;
}

bool HasValue(Var* variable) {
  return variable->is_initialized && variable->tensor()->IsInitialized();
}

bool NeedsImage(Var* variable) {
  return variable->copy_on_read_mode.load() &&
         tensorflow::DataTypeCanUseMemcpy(variable->tensor()->dtype());
}

MemoryRange RangeOf(const Tensor& tensor) {
  const absl::string_view bytes = tensor.tensor_data();
  return {const_cast<char*>(bytes.data()), static_cast<int64_t>(bytes.size())};
}

bool IsLockedBefore(Var* a, Var* b) { return std::less<const void*>()(a->mu(), b->mu()); }

}  // namespace

std::string MethodName(ImageMethod method) {
  switch (method) {
    case ImageMethod::kPages:
      return "pages";
    case ImageMethod::kFork:
      return "fork";
    case ImageMethod::kCopy:
      return "copy";
  }
  return "";
}

InstantTaker::InstantTaker(std::vector<SourceValue>* values, InstantOptions options)
    : values_(*values), options_(std::move(options)) {
  for (const SourceValue& value : values_) {
    if (value.variable != nullptr) taken_.push_back({value.variable});
  }
  const auto comes_before = [](const Taken& a, const Taken& b) {
    return IsLockedBefore(a.variable, b.variable);
  };
  std::sort(taken_.begin(), taken_.end(), comes_before);
  taken_.erase(std::unique(taken_.begin(), taken_.end(),
                           [](const Taken& a, const Taken& b) { return a.variable == b.variable; }),
               taken_.end());
}

InstantTaker::~InstantTaker() { Unlock(); }

absl::Status InstantTaker::Prepare() {
  if (image_ != nullptr && !needs_preparation_) return absl::OkStatus();
  for (; method_ < options_.methods.size(); NextMethod()) {
    if (preparations_++ == kMostPreparations) continue;
    image_ = NewImage(options_.methods[method_], options_);
    failure_ = PrepareImage();
    needs_preparation_ = !failure_.ok();
    if (failure_.ok()) return absl::OkStatus();
  }
  return absl::FailedPreconditionError(refused_);
}

// Notes why the present method is not possible.
void InstantTaker::NextMethod() {
  absl::StrAppend(&refused_, refused_.empty() ? "" : "; ", MethodName(options_.methods[method_]),
                  ": ", failure_.message());
  ++method_;
  preparations_ = 0;
}

// Notes which variables need an image now, and keeps their buffers.
absl::Status InstantTaker::PrepareImage() {
  std::vector<MemoryRange> ranges;
  for (Taken& each : taken_) {
    tensorflow::tf_shared_lock lock(*each.variable->mu());
    each.has_image = NeedsImage(each.variable);
    each.tensor = Tensor();
    if (!each.has_image) continue;
    each.tensor = *each.variable->tensor();
    ranges.push_back(RangeOf(each.tensor));
  }
  ranges_.resize(ranges.size());
  return ranges.empty() ? absl::OkStatus() : image_->Prepare(ranges);
}

void InstantTaker::Lock() {
  for (int round = 0; round < kMostRounds; ++round) {
    if (TryAll(Clock::time_point::max())) return;
    std::this_thread::sleep_for(kPause);
  }
  for (const Taken& each : taken_) each.variable->mu()->lock();
  since_ = Clock::now();
  are_locked_ = true;
}

bool InstantTaker::LockUntil(Clock::time_point until) {
  while (!TryAll(until)) {
    if (Clock::now() + kPause > until) return false;
    std::this_thread::sleep_for(kPause);
  }
  return true;
}

bool InstantTaker::TryAll(Clock::time_point until) {
  since_ = Clock::now();
  for (size_t i = 0; i < taken_.size(); ++i) {
    while (!taken_[i].variable->mu()->try_lock()) {
      if (Clock::now() > until) {
        UnlockFirst(i);
        return false;
      }
      std::this_thread::yield();
    }
    if (i == 0) {
      since_ = Clock::now();
      until = std::min(until, since_ + kLongestWait);
    }
  }
  are_locked_ = true;
  return true;
}

void InstantTaker::UnlockFirst(size_t count) {
  while (count-- > 0) taken_[count].variable->mu()->unlock();
}

void InstantTaker::Unlock() {
  if (!are_locked_) return;
  UnlockFirst(taken_.size());
  lock_seconds_ = std::chrono::duration<double>(Clock::now() - since_).count();
  are_locked_ = false;
}

absl::Status InstantTaker::Take() {
  // An image is taken once.
  needs_preparation_ = true;
  failure_ = TakeAll();
  if (failure_.ok()) preparations_ = 0;
  return failure_;
}

absl::Status InstantTaker::TakeAll() {
  bool all_have_values = true;
  for (Taken& each : taken_) {
    each.has_value = HasValue(each.variable);
    all_have_values = all_have_values && each.has_value;
  }
  if (!all_have_values) return absl::OkStatus();
  size_t next = 0;
  for (Taken& each : taken_) {
    if (NeedsImage(each.variable) != each.has_image) {
      return absl::FailedPreconditionError("variables change their kind of update meanwhile");
    }
    const Tensor& value = *each.variable->tensor();
    each.tensor = each.variable->copy_on_read_mode.load() && !each.has_image
                      ? tensorflow::tensor::DeepCopy(value)
                      : value;
    if (!each.has_image) continue;
    ranges_[next++] = RangeOf(each.tensor);
  }
  return ranges_.empty() ? absl::OkStatus() : image_->Take(ranges_);
}

Instant InstantTaker::Finish() {
  Instant instant;
  instant.refused = refused_;
  instant.lock_seconds = lock_seconds_;
  if (!ranges_.empty()) {
    instant.image = std::move(image_);
    instant.method = options_.methods[method_];
  }
  for (size_t i = 0; i < values_.size(); ++i) {
    SourceValue& value = values_[i];
    if (value.variable == nullptr) continue;
    const auto found = std::lower_bound(
        taken_.begin(), taken_.end(), value.variable,
        [](const Taken& each, Var* variable) { return IsLockedBefore(each.variable, variable); });
    if (!found->has_value) {
      instant.missing = i;
      return instant;
    }
    value.is_referenced = true;
    value.tensor = found->tensor;
    value.dtype = value.tensor.dtype();
    value.shape = value.tensor.shape();
    value.image = found->has_image ? instant.image.get() : nullptr;
  }
  return instant;
}

absl::StatusOr<Instant> TakeInstant(std::vector<SourceValue>* values,
                                    const InstantOptions& options) {
  InstantTaker taker(values, options);
  while (true) {
    absl::Status status = taker.Prepare();
    if (!status.ok()) return status;
    taker.Lock();
    status = taker.Take();
    taker.Unlock();
    if (status.ok()) return taker.Finish();
  }
}

}  // namespace autodist
