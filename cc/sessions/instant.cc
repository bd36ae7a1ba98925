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

using Clock = std::chrono::steady_clock;
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

// A variable of the save, once.
struct Taken {
  Var* variable;
  bool has_image = false;  // as it was when the image was prepared
  bool has_value = false;
  Tensor tensor = {};
};

// All variables, locked exclusively: writers of one in copy-on-read mode may hold it as shared.
class AllLocked {
 public:
  explicit AllLocked(const std::vector<Taken>& variables) : variables_(variables) {
    for (int round = 0; round < kMostRounds; ++round) {
      if (TryAll()) return;
      std::this_thread::sleep_for(kPause);
    }
    for (const Taken& each : variables_) each.variable->mu()->lock();
    since_ = Clock::now();
  }
  ~AllLocked() {
    if (!is_released_) UnlockLast(variables_.size());
  }
  AllLocked(const AllLocked&) = delete;
  AllLocked& operator=(const AllLocked&) = delete;

  double Release() {
    UnlockLast(variables_.size());
    is_released_ = true;
    return std::chrono::duration<double>(Clock::now() - since_).count();
  }

 private:
  bool TryAll() {
    Clock::time_point until;
    for (size_t i = 0; i < variables_.size(); ++i) {
      while (!variables_[i].variable->mu()->try_lock()) {
        if (i > 0 && Clock::now() > until) {
          UnlockLast(i);
          return false;
        }
        std::this_thread::yield();
      }
      if (i == 0) {
        since_ = Clock::now();
        until = since_ + kLongestWait;
      }
    }
    return true;
  }

  void UnlockLast(size_t count) {
    while (count-- > 0) variables_[count].variable->mu()->unlock();
  }

  const std::vector<Taken>& variables_;
  Clock::time_point since_;
  bool is_released_ = false;
};

bool IsLockedBefore(const Taken& a, const Taken& b) {
  return std::less<const void*>()(a.variable->mu(), b.variable->mu());
}

// In TensorFlow's order for their locks, each once.
std::vector<Taken> VariablesOf(const std::vector<SourceValue>& values) {
  std::vector<Taken> taken;
  for (const SourceValue& value : values) {
    if (value.variable != nullptr) taken.push_back({value.variable});
  }
  std::sort(taken.begin(), taken.end(), IsLockedBefore);
  taken.erase(std::unique(taken.begin(), taken.end(),
                          [](const Taken& a, const Taken& b) { return a.variable == b.variable; }),
              taken.end());
  return taken;
}

enum class Outcome { kTaken, kMissing, kAgain };

class Attempt {
 public:
  Attempt(std::vector<Taken>* taken, MemoryImage* image) : taken_(*taken), image_(*image) {}

  // Notes which variables need an image now, and keeps their buffers.
  absl::Status Prepare() {
    std::vector<MemoryRange> ranges;
    for (Taken& each : taken_) {
      tensorflow::tf_shared_lock lock(*each.variable->mu());
      each.has_image = NeedsImage(each.variable);
      if (!each.has_image) continue;
      each.tensor = *each.variable->tensor();
      ranges.push_back(RangeOf(each.tensor));
    }
    ranges_.resize(ranges.size());
    return has_image() ? image_.Prepare(ranges) : absl::OkStatus();
  }

  // Under all locks. kAgain: the variables are not those that were prepared.
  absl::StatusOr<Outcome> Take() {
    size_t next = 0;
    bool all_have_values = true;
    for (Taken& each : taken_) {
      each.has_value = HasValue(each.variable);
      all_have_values = all_have_values && each.has_value;
    }
    if (!all_have_values) return Outcome::kMissing;
    for (Taken& each : taken_) {
      if (NeedsImage(each.variable) != each.has_image) return Outcome::kAgain;
      const Tensor& value = *each.variable->tensor();
      each.tensor = each.variable->copy_on_read_mode.load() && !each.has_image
                        ? tensorflow::tensor::DeepCopy(value)
                        : value;
      if (!each.has_image) continue;
      ranges_[next++] = RangeOf(each.tensor);
    }
    const absl::Status status = has_image() ? image_.Take(ranges_) : absl::OkStatus();
    if (!status.ok()) return status;
    return Outcome::kTaken;
  }

  bool has_image() const { return !ranges_.empty(); }

 private:
  std::vector<Taken>& taken_;
  MemoryImage& image_;
  std::vector<MemoryRange> ranges_;
};

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

absl::StatusOr<Instant> TakeInstant(std::vector<SourceValue>* values,
                                    const InstantOptions& options) {
  std::vector<Taken> taken = VariablesOf(*values);
  Instant instant;
  for (const ImageMethod method : options.methods) {
    absl::Status status;
    for (int i = 0; i < kMostPreparations; ++i) {
      std::unique_ptr<MemoryImage> image = NewImage(method, options);
      Attempt attempt(&taken, image.get());
      status = attempt.Prepare();
      if (!status.ok()) break;
      absl::StatusOr<Outcome> outcome = Outcome::kAgain;
      {
        AllLocked locked(taken);
        outcome = attempt.Take();
        instant.lock_seconds = locked.Release();
      }
      if (!outcome.ok()) {
        status = outcome.status();
        continue;
      }
      if (*outcome == Outcome::kAgain) {
        status = absl::FailedPreconditionError("variables change their kind of update meanwhile");
        continue;
      }
      if (attempt.has_image()) {
        instant.image = std::move(image);
        instant.method = method;
      }
      status = absl::OkStatus();
      break;
    }
    if (status.ok()) break;
    absl::StrAppend(&instant.refused, instant.refused.empty() ? "" : "; ", MethodName(method), ": ",
                    status.message());
    if (method == options.methods.back()) return absl::FailedPreconditionError(instant.refused);
  }
  for (size_t i = 0; i < values->size(); ++i) {
    SourceValue& value = (*values)[i];
    if (value.variable == nullptr) continue;
    const auto found =
        std::lower_bound(taken.begin(), taken.end(), Taken{value.variable}, IsLockedBefore);
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

}  // namespace autodist
