// The values of a save, taken from variables in place. The header has the rules this follows.

#include "sessions/variable_sources.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>
#include <utility>

#include "sessions/joint_locks.h"
#include "sessions/variable_value.h"
#include "tensorflow/core/framework/tensor_util.h"

namespace autodist {
namespace {

using Clock = std::chrono::steady_clock;
using tensorflow::Tensor;
using tensorflow::Var;

constexpr int64_t kPageBytes = 4096;

absl::Status CheckInitialized(Var* variable) {
  if (HasValue(*variable)) return absl::OkStatus();
  return absl::FailedPreconditionError("a variable lost its value during the save");
}

// A tensor for a copy of `source`. Its memory is mapped already, so that a copy under a lock runs
// at memory speed.
absl::StatusOr<Tensor> PrepareCopy(const SourceValue& source, tensorflow::DataType dtype,
                                   const tensorflow::TensorShape& shape) {
  if (source.accelerator != nullptr) return source.accelerator->NewTensor(dtype, shape);
  Tensor copy(dtype, shape);
  if (!copy.IsInitialized()) throw std::bad_alloc();
  const absl::string_view bytes = copy.tensor_data();
  char* data = const_cast<char*>(bytes.data());
  for (size_t offset = 0; offset < bytes.size(); offset += kPageBytes) data[offset] = 0;
  return copy;
}

bool IsInCopyOnReadMode(const Var* variable) { return variable->copy_on_read_mode.load(); }

// Copies `value`, of `source`, into `copy`, which is replaced if it does not fit.
absl::Status CopyInto(const SourceValue& source, const Tensor& value, Tensor* copy) {
  if (copy->dtype() != value.dtype() || copy->shape() != value.shape()) {
    absl::StatusOr<Tensor> fitting = PrepareCopy(source, value.dtype(), value.shape());
    if (!fitting.ok()) return fitting.status();
    *copy = *std::move(fitting);
  }
  if (source.accelerator != nullptr) return source.accelerator->CopyInside(value, copy);
  const absl::string_view bytes = value.tensor_data();
  if (bytes.empty()) return absl::OkStatus();
  std::memcpy(const_cast<char*>(copy->tensor_data().data()), bytes.data(), bytes.size());
  return absl::OkStatus();
}

// Whether the bytes of a variable may be read where they are, for as long as someone refers to
// them.
bool IsFixed(const SourceValue& source, const Tensor& value) {
  return source.accelerator == nullptr && IsOnlyReference(value);
}

}  // namespace

SourceValue TensorValue(const Tensor& tensor) {
  SourceValue value;
  value.tensor = tensor;
  value.dtype = tensor.dtype();
  value.shape = tensor.shape();
  return value;
}

void Refer(const Tensor& tensor, bool is_fixed, SourceValue* value) {
  value->is_referenced = true;
  value->is_fixed = is_fixed;
  value->tensor = tensor;
  if (value->accelerator == nullptr) return;
  value->device_reader =
      std::make_shared<DeviceReader>(value->accelerator, value->tensor, value->name);
  value->image = value->device_reader.get();
}

std::optional<size_t> ReferenceValues(std::vector<SourceValue>* values, double* lock_seconds) {
  std::vector<SourceValue*> in_order;
  for (SourceValue& value : *values) {
    if (value.variable != nullptr) in_order.push_back(&value);
  }
  std::sort(in_order.begin(), in_order.end(), [](const SourceValue* a, const SourceValue* b) {
    return IsLockedBefore(a->variable, b->variable);
  });
  // One that is in copy-on-read mode is not waited for: another save may lock it for long.
  std::vector<Var*> locked;
  locked.reserve(in_order.size());
  std::vector<bool> has_value(in_order.size());
  Clock::time_point since;
  for (const SourceValue* value : in_order) {
    Var* const variable = value->variable;
    if (IsInCopyOnReadMode(variable) || (!locked.empty() && locked.back() == variable)) continue;
    variable->mu()->lock_shared();
    if (locked.empty()) since = Clock::now();
    locked.push_back(variable);
  }
  // The mode changes under the exclusive lock only.
  const SourceValue* before = nullptr;
  for (SourceValue* value : in_order) {
    if (!std::binary_search(locked.begin(), locked.end(), value->variable, IsLockedBefore) ||
        IsInCopyOnReadMode(value->variable)) {
      continue;
    }
    const bool is_again = before != nullptr && before->variable == value->variable;
    const Tensor& present = *value->variable->tensor();
    Refer(present, is_again ? before->is_fixed : IsFixed(*value, present), value);
    before = value;
  }
  for (size_t i = locked.size(); i-- > 0;) {
    has_value[i] = HasValue(*locked[i]);
    locked[i]->mu()->unlock_shared();
  }
  *lock_seconds = locked.empty() ? 0 : std::chrono::duration<double>(Clock::now() - since).count();

  for (size_t i = 0; i < values->size(); ++i) {
    SourceValue& value = (*values)[i];
    if (value.variable == nullptr) continue;
    if (value.is_referenced) {
      value.dtype = value.tensor.dtype();
      value.shape = value.tensor.shape();
      const auto found =
          std::lower_bound(locked.begin(), locked.end(), value.variable, IsLockedBefore);
      if (!has_value[found - locked.begin()]) return i;
      continue;
    }
    tensorflow::tf_shared_lock lock(*value.variable->mu());
    value.dtype = value.variable->tensor()->dtype();
    value.shape = value.variable->tensor()->shape();
    if (!HasValue(*value.variable)) return i;
  }
  return std::nullopt;
}

// The locks on some variables: exclusive on those in copy-on-read mode, shared on the others.
class VariableSources::Locks {
 public:
  // `variables` in lock order.
  Locks(VariableSources* owner, std::vector<Var*> variables)
      : owner_(*owner), variables_(std::move(variables)), is_exclusive_(variables_.size(), false) {
    do {
      LockAll();
    } while (!ModesHold());
    since_ = Clock::now();
  }

  ~Locks() { Release(); }
  Locks(const Locks&) = delete;
  Locks& operator=(const Locks&) = delete;

  // Lets go of the shared locks: what they guard was referred to.
  void ReleaseShared() {
    for (size_t i = 0; i < variables_.size(); ++i) {
      if (!is_exclusive_[i]) variables_[i]->mu()->unlock_shared();
    }
    size_t kept = 0;
    for (size_t i = 0; i < variables_.size(); ++i) {
      if (is_exclusive_[i]) variables_[kept++] = variables_[i];
    }
    variables_.resize(kept);
    is_exclusive_.assign(kept, true);
    if (variables_.empty()) NoteTime();
  }

  void Release() {
    if (variables_.empty()) return;
    UnlockAll();
    NoteTime();
    variables_.clear();
  }

  // Whether `variable`, one of those locked, must not be referred to after the release.
  bool IsExclusive(Var* variable) const {
    const auto found =
        std::lower_bound(variables_.begin(), variables_.end(), variable, IsLockedBefore);
    return is_exclusive_[found - variables_.begin()];
  }

 private:
  void NoteTime() {
    owner_.NoteLockTime(std::chrono::duration<double>(Clock::now() - since_).count());
  }

  void LockAll() {
    for (size_t i = 0; i < variables_.size(); ++i) {
      is_exclusive_[i] = is_exclusive_[i] || variables_[i]->copy_on_read_mode.load();
      if (is_exclusive_[i]) {
        variables_[i]->mu()->lock();
      } else {
        variables_[i]->mu()->lock_shared();
      }
    }
  }

  void UnlockAll() {
    for (size_t i = variables_.size(); i-- > 0;) {
      if (is_exclusive_[i]) {
        variables_[i]->mu()->unlock();
      } else {
        variables_[i]->mu()->unlock_shared();
      }
    }
  }

  // Whether no variable locked as shared was switched to copy-on-read meanwhile; else unlocks all.
  // A variable once locked exclusively stays so, hence this is repeated at most once per variable.
  bool ModesHold() {
    for (size_t i = 0; i < variables_.size(); ++i) {
      if (!is_exclusive_[i] && variables_[i]->copy_on_read_mode.load()) {
        UnlockAll();
        return false;
      }
    }
    return true;
  }

  VariableSources& owner_;
  std::vector<Var*> variables_;
  std::vector<bool> is_exclusive_;
  Clock::time_point since_;
};

class VariableSources::Held : public HeldValues {
 public:
  ~Held() override {
    // Nobody else may refer to the buffer of a variable in copy-on-read mode once it is unlocked.
    device_readers_.clear();
    tensors_.clear();
    locks.reset();
  }

  std::vector<Tensor>& mutable_tensors() { return tensors_; }
  void SetImages(std::vector<ByteReader*> images) { readers_ = std::move(images); }
  // Has the tensor of `source` read through blocks of host memory.
  void ReadFromDevice(size_t index, const SourceValue& source) {
    device_readers_.push_back(
        std::make_unique<DeviceReader>(source.accelerator, tensors_[index], source.name));
    readers_.resize(tensors_.size());
    readers_[index] = device_readers_.back().get();
  }
  void SetFixed(std::vector<bool> fixed) { fixed_ = std::move(fixed); }
  void SetFixed(size_t index) { fixed_[index] = true; }

  std::unique_lock<std::mutex> copy_lock;
  std::unique_ptr<Locks> locks;

 private:
  std::vector<std::unique_ptr<DeviceReader>> device_readers_;
};

absl::StatusOr<std::unique_ptr<HeldValues>> VariableSources::Acquire(absl::Span<const int> sources,
                                                                     Hold hold) {
  auto held = std::make_unique<Held>();
  std::vector<Tensor>& tensors = held->mutable_tensors();
  const bool all_have_tensors = AllHaveTensors(sources);
  std::vector<Tensor> references = TensorsOf(sources);
  if (all_have_tensors) {
    tensors = std::move(references);
    held->SetImages(ImagesOf(sources));
    held->SetFixed(FixedOf(sources));
    return held;
  }
  tensors.resize(sources.size());
  held->SetFixed(std::vector<bool>(sources.size()));
  std::vector<Var*> variables = VariablesInLockOrder(sources);
  const bool copies = mode_ == LockMode::kCopy && hold == Hold::kLong;
  if (copies && std::any_of(variables.begin(), variables.end(), IsInCopyOnReadMode)) {
    held->copy_lock = std::unique_lock<std::mutex>(copy_mutex_);
    for (size_t i = 0; i < sources.size(); ++i) {
      const SourceValue& source = values_[sources[i]];
      if (source.variable != nullptr && IsInCopyOnReadMode(source.variable)) {
        absl::StatusOr<Tensor> copy = PrepareCopy(source, source.dtype, source.shape);
        if (!copy.ok()) return copy.status();
        tensors[i] = *std::move(copy);
      }
    }
  }

  held->locks = std::make_unique<Locks>(this, std::move(variables));
  for (size_t i = 0; i < sources.size(); ++i) {
    const SourceValue& source = values_[sources[i]];
    if (source.variable == nullptr) {
      tensors[i] = std::move(references[i]);
      continue;
    }
    absl::Status status = CheckInitialized(source.variable);
    if (!status.ok()) return status;
    const Tensor& value = *source.variable->tensor();
    if (copies && held->locks->IsExclusive(source.variable)) {
      status = CopyInto(source, value, &tensors[i]);
      if (!status.ok()) return status;
      if (source.accelerator == nullptr) held->SetFixed(i);
    } else {
      tensors[i] = value;
    }
    if (source.accelerator != nullptr) held->ReadFromDevice(i, source);
  }
  if (copies) {
    held->locks.reset();
  } else {
    held->locks->ReleaseShared();
  }
  return held;
}

absl::StatusOr<std::vector<Tensor>> VariableSources::Snapshot(absl::Span<const int> sources) {
  const bool all_have_tensors = AllHaveTensors(sources);
  std::vector<Tensor> tensors = TensorsOf(sources);
  if (all_have_tensors) return tensors;
  const Locks locks(this, VariablesInLockOrder(sources));
  for (size_t i = 0; i < sources.size(); ++i) {
    const SourceValue& source = values_[sources[i]];
    if (source.variable == nullptr) continue;
    absl::Status status = CheckInitialized(source.variable);
    if (!status.ok()) return status;
    const Tensor& value = *source.variable->tensor();
    if (!locks.IsExclusive(source.variable)) {
      tensors[i] = value;
    } else if (source.accelerator == nullptr) {
      tensors[i] = tensorflow::tensor::DeepCopy(value);
    } else {
      tensors[i] = Tensor(value.dtype());
      status = CopyInto(source, value, &tensors[i]);
      if (!status.ok()) return status;
    }
  }
  return tensors;
}

bool VariableSources::AllHaveTensors(absl::Span<const int> sources) const {
  return std::all_of(sources.begin(), sources.end(),
                     [this](int source) { return values_[source].has_tensor(); });
}

// The tensors of those that have one.
std::vector<Tensor> VariableSources::TensorsOf(absl::Span<const int> sources) const {
  std::vector<Tensor> tensors(sources.size());
  for (size_t i = 0; i < sources.size(); ++i) tensors[i] = values_[sources[i]].tensor;
  return tensors;
}

std::vector<bool> VariableSources::FixedOf(absl::Span<const int> sources) const {
  std::vector<bool> fixed(sources.size());
  for (size_t i = 0; i < sources.size(); ++i) fixed[i] = values_[sources[i]].is_fixed;
  return fixed;
}

// The images of those that have one; empty if none has.
std::vector<ByteReader*> VariableSources::ImagesOf(absl::Span<const int> sources) const {
  std::vector<ByteReader*> images;
  for (size_t i = 0; i < sources.size(); ++i) {
    ByteReader* const image = values_[sources[i]].image;
    if (image == nullptr) continue;
    images.resize(sources.size());
    images[i] = image;
  }
  return images;
}

double VariableSources::max_lock_seconds() const {
  std::lock_guard<std::mutex> lock(time_mutex_);
  return max_lock_seconds_;
}

std::vector<Var*> VariableSources::VariablesInLockOrder(absl::Span<const int> sources) const {
  std::vector<Var*> variables;
  for (int source : sources) {
    if (values_[source].variable != nullptr) variables.push_back(values_[source].variable);
  }
  BringIntoLockOrder(&variables);
  return variables;
}

void VariableSources::NoteLockTime(double seconds) {
  std::lock_guard<std::mutex> lock(time_mutex_);
  max_lock_seconds_ = std::max(max_lock_seconds_, seconds);
}

}  // namespace autodist
