// The targets of a restore: variables, written in place where that is safe, and new tensors. The
// header has the rules this follows.

#include "sessions/variable_targets.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "accelerators/device_writer.h"
#include "sessions/joint_locks.h"
#include "sessions/variable_value.h"
#include "system_memory/pages.h"
#include "tensorflow/core/framework/resource_var.h"
#include "threads/guarded.h"

namespace autodist {
namespace {

using tensorflow::DataType;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::Var;

// A tensor that is about to be filled, on the host where `accelerator` is null.
absl::StatusOr<Tensor> NewTensor(const Accelerator* accelerator, DataType dtype,
                                 const TensorShape& shape) {
  if (accelerator != nullptr) return accelerator->NewTensor(dtype, shape);
  Tensor tensor(dtype, shape);
  if (tensor.IsInitialized()) {
    if (tensorflow::DataTypeCanUseMemcpy(dtype)) UseHugePages(tensor.data(), tensor.TotalBytes());
    return tensor;
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      "no memory for a ", tensorflow::DataTypeString(dtype), " of shape ", shape.DebugString()));
}

// Uninitializes a variable. Var::Uninitialize leaves a tensor that has a shape but no memory, and
// TensorFlow's updates of rows write wherever the shape lets them (TF 2.21). In a tensor without
// rows every row number is an error. REQUIRES: the variable's lock is held.
void LoseValue(Var* variable) {
  const DataType dtype = variable->tensor()->dtype();
  variable->Uninitialize();
  *variable->tensor() = Tensor(dtype);
}

// Worded as AssignVariableOp and Assign do.
absl::Status WrongDtype(DataType expected, DataType got) {
  return absl::InvalidArgumentError(
      absl::StrCat("Trying to assign variable with wrong dtype. Expected ",
                   tensorflow::DataTypeString(expected), " got ", tensorflow::DataTypeString(got)));
}

absl::Status WrongShape(const std::string& variable, const std::string& restored) {
  return absl::InvalidArgumentError(
      absl::StrCat("Assign requires shapes of both tensors to match. lhs shape= ", variable,
                   " rhs shape= ", restored));
}

// Takes a variable that lost its value from its resource manager; where that fails it stays there
// without one. REQUIRES: its lock is not held.
void Forget(const PinnedVariable& pinned) noexcept {
  if (pinned.handle.IsRefCounting()) return;
  Guarded([&] { return pinned.manager->Delete(pinned.handle); }).IgnoreError();
}

}  // namespace

// Variables that are locked while they are written.
class VariableTargets::OpenVariables : public OpenTargets {
 public:
  explicit OpenVariables(std::vector<const PinnedVariable*> variables)
      : variables_(std::move(variables)) {
    for (const PinnedVariable* pinned : variables_) {
      in_lock_order_.push_back(pinned->variable.get());
    }
    BringIntoLockOrder(&in_lock_order_);
    tensors_.reserve(variables_.size());
    lost_.reserve(variables_.size());
    for (Var* variable : in_lock_order_) variable->mu()->lock();
  }

  // Takes the memory that is written.
  absl::Status Prepare(DataType dtype, absl::Span<const TensorShape> shapes) {
    for (size_t i = 0; i < variables_.size(); ++i) {
      Var& variable = *variables_[i]->variable;
      Tensor& value = *variable.tensor();
      if (HasValue(variable) && value.RefCountIsOne() && value.dtype() == dtype &&
          value.shape() == shapes[i]) {
        tensors_.push_back(value);
        continue;
      }
      absl::StatusOr<Tensor> tensor = NewTensor(variables_[i]->accelerator.get(), dtype, shapes[i]);
      if (!tensor.ok()) return tensor.status();
      tensors_.push_back(*std::move(tensor));
    }
    may_be_written_ = true;
    return absl::OkStatus();
  }

  void Finish() override {
    for (size_t i = 0; i < tensors_.size(); ++i) {
      Var& variable = *variables_[i]->variable;
      *variable.tensor() = tensors_[i];
      variable.is_initialized = true;
    }
    may_be_written_ = false;
  }

  ~OpenVariables() override {
    for (size_t i = 0; i < tensors_.size() && may_be_written_; ++i) {
      Var& variable = *variables_[i]->variable;
      if (!variable.tensor()->SharesBufferWith(tensors_[i])) continue;
      LoseValue(&variable);
      lost_.push_back(variables_[i]);
    }
    // Nobody else may refer to the memory of a variable in copy-on-read mode once it is unlocked.
    tensors_.clear();
    for (Var* variable : in_lock_order_) variable->mu()->unlock();
    for (const PinnedVariable* pinned : lost_) Forget(*pinned);
  }

 private:
  const std::vector<const PinnedVariable*> variables_;
  std::vector<Var*> in_lock_order_;
  std::vector<const PinnedVariable*> lost_;  // has room for all of them
  bool may_be_written_ = false;
};

absl::Status VariableTargets::CheckFits(int target, DataType dtype,
                                        const TensorShape& shape) const {
  const RestoreTarget& wanted = targets_[target];
  if (!wanted.shape.IsCompatibleWith(shape)) {
    return WrongShape(wanted.shape.DebugString(), shape.DebugString());
  }
  Var* variable = wanted.pinned == nullptr ? nullptr : wanted.pinned->variable.get();
  if (variable == nullptr) return absl::OkStatus();
  tensorflow::tf_shared_lock lock(*variable->mu());
  const DataType present = variable->tensor()->dtype();
  if (present != dtype && (present != tensorflow::DT_INVALID || variable->is_initialized)) {
    return WrongDtype(present, dtype);
  }
  if (wanted.validate_shape && variable->is_initialized && variable->tensor()->shape() != shape) {
    return WrongShape(variable->tensor()->shape().DebugString(), shape.DebugString());
  }
  return absl::OkStatus();
}

bool VariableTargets::IsLive(int target, DataType dtype, const TensorShape& shape) {
  const PinnedVariable* pinned = targets_[target].pinned;
  if (pinned == nullptr || pinned->variable == nullptr) return false;
  tensorflow::tf_shared_lock lock(*pinned->variable->mu());
  const bool is_live = HasValue(*pinned->variable) &&
                       pinned->variable->tensor()->dtype() == dtype &&
                       pinned->variable->tensor()->shape() == shape;
  return is_live;
}

absl::StatusOr<Tensor> VariableTargets::Allocate(int target, DataType dtype,
                                                 const TensorShape& shape) {
  absl::StatusOr<Tensor> tensor = NewTensor(accelerator(target).get(), dtype, shape);
  if (tensor.ok()) fresh_[target] = {true, *tensor};
  return tensor;
}

absl::Status VariableTargets::Set(int target, Tensor tensor) {
  const std::shared_ptr<Accelerator> on = accelerator(target);
  if (on != nullptr) {
    absl::StatusOr<Tensor> copy = on->NewTensor(tensor.dtype(), tensor.shape());
    if (!copy.ok()) return copy.status();
    DeviceWriter writer(on, *copy);
    DeviceWriter::Batch batch(&writer);
    const absl::string_view bytes = tensor.tensor_data();
    absl::Status status = batch.Add(0, bytes.data(), static_cast<int64_t>(bytes.size()));
    if (status.ok()) status = batch.Send();
    if (status.ok()) status = writer.Finish();
    if (!status.ok()) return status;
    tensor = *std::move(copy);
  }
  fresh_[target] = {true, std::move(tensor)};
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<OpenTargets>> VariableTargets::Open(
    absl::Span<const int> targets, DataType dtype, absl::Span<const TensorShape> shapes) {
  has_touched_live_ = true;
  std::vector<const PinnedVariable*> variables;
  for (int target : targets) variables.push_back(targets_[target].pinned);
  auto open = std::make_unique<OpenVariables>(std::move(variables));
  const absl::Status status = open->Prepare(dtype, shapes);
  if (!status.ok()) return status;
  return open;
}

void VariableTargets::Withdraw(int target) {
  const PinnedVariable& pinned = *targets_[target].pinned;
  {
    tensorflow::mutex_lock lock(*pinned.variable->mu());
    if (!HasValue(*pinned.variable)) return;
    LoseValue(pinned.variable.get());
  }
  Forget(pinned);
}

absl::StatusOr<Tensor> VariableTargets::Take(int target, DataType dtype, const TensorShape& shape) {
  has_touched_live_ = true;
  Var& variable = *targets_[target].pinned->variable;
  Tensor value;
  {
    tensorflow::mutex_lock lock(*variable.mu());
    Tensor& present = *variable.tensor();
    if (HasValue(variable) && present.RefCountIsOne() && present.dtype() == dtype &&
        present.shape() == shape) {
      value = std::move(present);
    } else {
      absl::StatusOr<Tensor> tensor = NewTensor(accelerator(target).get(), dtype, shape);
      if (!tensor.ok()) return tensor.status();
      value = *std::move(tensor);
    }
    LoseValue(&variable);
  }
  taken_.push_back(target);
  fresh_[target] = {true, value};
  return value;
}

void VariableTargets::ForgetTaken() noexcept {
  for (const int target : taken_) {
    fresh_[target] = Fresh();
    const PinnedVariable& pinned = *targets_[target].pinned;
    {
      tensorflow::tf_shared_lock lock(*pinned.variable->mu());
      if (HasValue(*pinned.variable)) continue;
    }
    Forget(pinned);
  }
  taken_.clear();
}

void VariableTargets::WithdrawAll() noexcept {
  for (size_t i = 0; i < targets_.size(); ++i) {
    const PinnedVariable* pinned = targets_[i].pinned;
    if (pinned == nullptr) continue;
    if (pinned->variable == nullptr) {
      Forget(*pinned);
    } else {
      Withdraw(static_cast<int>(i));
    }
  }
}

absl::Status VariableTargets::Publish() {
  // By target. All that may fail comes before the first value is seen.
  std::vector<tensorflow::core::RefCountPtr<Var>> made(targets_.size());
  for (size_t i = 0; i < targets_.size(); ++i) {
    const PinnedVariable* pinned = targets_[i].pinned;
    if (pinned == nullptr || !fresh_[i].is_set || pinned->variable != nullptr) continue;
    const DataType dtype = fresh_[i].tensor.dtype();
    Var* found = nullptr;
    absl::Status status = pinned->manager->LookupOrCreate<Var>(
        pinned->handle.container(), pinned->handle.name(), &found, [dtype](Var** created) {
          *created = new Var(dtype);
          return absl::OkStatus();
        });
    if (!status.ok()) return status;
    made[i].reset(found);
  }
  std::vector<Var*> variables(targets_.size());
  std::vector<Var*> present;
  for (size_t i = 0; i < targets_.size(); ++i) {
    const PinnedVariable* pinned = targets_[i].pinned;
    if (pinned == nullptr || !fresh_[i].is_set) continue;
    variables[i] = made[i] != nullptr ? made[i].get() : pinned->variable.get();
    present.push_back(variables[i]);
  }
  {
    JointLocks locks(std::move(present));
    locks.Lock();
    for (size_t i = 0; i < targets_.size(); ++i) {
      if (variables[i] == nullptr) continue;
      std::swap(*variables[i]->tensor(), fresh_[i].tensor);
      variables[i]->is_initialized = true;
    }
  }
  // The former values, which take their time to be freed.
  for (size_t i = 0; i < targets_.size(); ++i) {
    if (variables[i] != nullptr) fresh_[i] = Fresh();
  }
  return absl::OkStatus();
}

}  // namespace autodist
