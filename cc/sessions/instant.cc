// Variables as they were at one instant, for a save that writes them while training goes on. See
// variable_sources.h for TensorFlow's rules.

#include "sessions/instant.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "images/copied_image.h"
#include "images/forked_image.h"
#include "images/protected_image.h"
#include "sessions/variable_value.h"
#include "tensorflow/core/framework/tensor_util.h"
#include "threads/guarded.h"

namespace autodist {
namespace {

using tensorflow::Tensor;
using tensorflow::Var;

// Variables that are given other sizes again and again, or go to another mode, while an image of
// them is prepared.
constexpr int kMostPreparations = 5;

std::unique_ptr<MemoryImage> NewImage(ImageMethod method, const InstantOptions& options) {
  switch (method) {
    case ImageMethod::kPages: {
      ProtectionOptions protection;
      protection.pool_bytes = options.memory_bytes;
      protection.spill_directory = options.spill_directory;
      protection.may_fail_kernel_writes = options.methods.size() == 1;
      return std::make_unique<ProtectedImage>(std::move(protection));
    }
    case ImageMethod::kFork:
      return std::make_unique<ForkedImage>();
    case ImageMethod::kCopy:
      return std::make_unique<CopiedImage>(options.memory_bytes);
  }
  return nullptr;
}

bool NeedsImage(Var* variable) {
  return variable->copy_on_read_mode.load() &&
         tensorflow::DataTypeCanUseMemcpy(variable->tensor()->dtype());
}

MemoryRange RangeOf(const Tensor& tensor) {
  const absl::string_view bytes = tensor.tensor_data();
  return {const_cast<char*>(bytes.data()), static_cast<int64_t>(bytes.size())};
}

// An image, and the buffers whose memory it is of.
struct KeptImage {
  std::vector<Tensor> tensors;
  std::unique_ptr<MemoryImage> image;  // ends first
};

std::vector<Var*> VariablesOf(const std::vector<SourceValue>& values) {
  std::vector<Var*> variables;
  for (const SourceValue& value : values) {
    if (value.variable != nullptr) variables.push_back(value.variable);
  }
  return variables;
}

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

std::string MethodsOf(const Instant& instant) {
  std::string methods = instant.method ? MethodName(*instant.method) : "";
  if (instant.has_device_copies) {
    absl::StrAppend(&methods, methods.empty() ? "" : " and ", "device copies");
  }
  return methods;
}

std::vector<ImageMethod> ImageMethods(const std::vector<std::string>& names) {
  std::vector<ImageMethod> methods;
  for (const std::string& name : names) {
    for (const ImageMethod method : {ImageMethod::kPages, ImageMethod::kFork, ImageMethod::kCopy}) {
      if (MethodName(method) == name) methods.push_back(method);
    }
  }
  return methods;
}

InstantTaker::InstantTaker(std::vector<SourceValue>* values, InstantOptions options)
    : values_(*values), options_(std::move(options)), locks_(VariablesOf(values_)) {
  std::vector<Var*> variables = VariablesOf(values_);
  BringIntoLockOrder(&variables);
  for (Var* variable : variables) taken_.push_back({variable});
  for (const SourceValue& value : values_) {
    if (value.accelerator == nullptr) continue;
    FindTaken(value.variable)->accelerator = value.accelerator;
  }
}

InstantTaker::Taken* InstantTaker::FindTaken(Var* variable) {
  return &*std::lower_bound(
      taken_.begin(), taken_.end(), variable,
      [](const Taken& each, Var* wanted) { return IsLockedBefore(each.variable, wanted); });
}

absl::Status InstantTaker::Prepare() {
  if (image_ != nullptr && !needs_preparation_) return absl::OkStatus();
  const absl::Status copies = Guarded([this] { return PrepareDeviceCopies(); });
  if (!copies.ok()) return copies;
  for (; method_ < options_.methods.size(); NextMethod()) {
    // Aborted: the variables changed meanwhile. Other errors would come again.
    const bool can_try = failure_.ok() || absl::IsAborted(failure_);
    if (!can_try || preparations_++ == kMostPreparations) continue;
    image_ = NewImage(options_.methods[method_], options_);
    failure_ = Guarded([this] { return PrepareImage(); });
    needs_preparation_ = !failure_.ok();
    if (failure_.ok()) return absl::OkStatus();
    image_.reset();
  }
  return NoMethodError();
}

// Makes room for copies of the variables that are updated by rows on accelerators.
absl::Status InstantTaker::PrepareDeviceCopies() {
  int64_t left_bytes = options_.memory_bytes;
  for (Taken& each : taken_) {
    each.has_device_copy = false;
    if (each.accelerator == nullptr) continue;
    each.prepared = each.tensor = Tensor();
    tensorflow::DataType dtype;
    tensorflow::TensorShape shape;
    {
      tensorflow::tf_shared_lock lock(*each.variable->mu());
      if (!NeedsImage(each.variable)) continue;
      dtype = each.variable->tensor()->dtype();
      shape = each.variable->tensor()->shape();
      left_bytes -= each.variable->tensor()->TotalBytes();
    }
    const bool may_copy = options_.methods.size() != 1 || options_.methods[0] == ImageMethod::kCopy;
    if (!may_copy) {
      return absl::FailedPreconditionError(absl::StrCat(
          "a variable on ", each.accelerator->name(),
          " is updated by rows, and can be kept as it is at one instant by a copy there only, not "
          "by '",
          MethodName(options_.methods[0]),
          "': choose snapshot_method='auto' or 'copy', or save with consistency='shard'"));
    }
    if (left_bytes < 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("the variables that are updated by rows on accelerators, such as ",
                       each.accelerator->name(), ", take more than the ", options_.memory_bytes,
                       " bytes that may be copied: allow more snapshot_memory_bytes, or save with "
                       "consistency='shard'"));
    }
    absl::StatusOr<Tensor> room = each.accelerator->NewTensor(dtype, shape);
    if (!room.ok()) {
      return absl::FailedPreconditionError(absl::StrCat(
          "the variables cannot be kept as they are at one instant: ", room.status().message(),
          ". Free memory there, or save with consistency='shard'"));
    }
    each.prepared = *std::move(room);
    each.has_device_copy = true;
  }
  return absl::OkStatus();
}

absl::Status InstantTaker::NoMethodError() const {
  const bool is_meant = options_.methods.size() == 1;
  return absl::FailedPreconditionError(absl::StrCat(
      "the variables cannot be kept as they are at one instant: ", refused_,
      is_meant ? ". This is the only method that was asked for: choose snapshot_method='auto'"
               : ". Allow one of these, or give it more snapshot_memory_bytes",
      ", or save with consistency='shard'"));
}

// Notes why this method is not possible, and goes on to the next.
void InstantTaker::NextMethod() {
  absl::StrAppend(&refused_, refused_.empty() ? "" : "; ", MethodName(options_.methods[method_]),
                  ": ", failure_.message());
  ++method_;
  preparations_ = 0;
  failure_ = absl::OkStatus();
}

// Notes which variables need an image now, and keeps their buffers.
absl::Status InstantTaker::PrepareImage() {
  std::vector<MemoryRange> ranges;
  for (Taken& each : taken_) {
    if (each.accelerator != nullptr) continue;
    tensorflow::tf_shared_lock lock(*each.variable->mu());
    each.has_image = NeedsImage(each.variable);
    each.prepared = each.tensor = Tensor();
    if (!each.has_image) continue;
    each.prepared = *each.variable->tensor();
    ranges.push_back(RangeOf(each.prepared));
  }
  ranges_.resize(ranges.size());
  return ranges.empty() ? absl::OkStatus() : image_->Prepare(ranges);
}

absl::Status InstantTaker::Take() {
  // An image can be taken only once.
  needs_preparation_ = true;
  failure_ = Guarded([this] { return TakeAll(); });
  if (failure_.ok()) preparations_ = 0;
  return failure_;
}

absl::Status InstantTaker::TakeAll() {
  bool all_have_values = true;
  for (Taken& each : taken_) {
    each.has_value = HasValue(*each.variable);
    all_have_values = all_have_values && each.has_value;
  }
  if (!all_have_values) return absl::OkStatus();
  size_t next = 0;
  for (Taken& each : taken_) {
    if (NeedsImage(each.variable) != (each.has_image || each.has_device_copy)) {
      return absl::AbortedError("a variable began to be updated by rows while the save prepared");
    }
    const Tensor& value = *each.variable->tensor();
    if (each.accelerator != nullptr) {
      absl::Status status = TakeFromDevice(value, &each);
      if (!status.ok()) return status;
      continue;
    }
    each.is_fixed = !each.has_image && IsOnlyReference(value);
    each.tensor = each.variable->copy_on_read_mode.load() && !each.has_image
                      ? tensorflow::tensor::DeepCopy(value)
                      : value;
    if (!each.has_image) continue;
    ranges_[next++] = RangeOf(each.tensor);
  }
  return ranges_.empty() ? absl::OkStatus() : image_->Take(ranges_);
}

// The next update of a variable that is not copied copies it first, as on a processor.
absl::Status InstantTaker::TakeFromDevice(const Tensor& value, Taken* taken) {
  if (!taken->has_device_copy) {
    taken->tensor = value;
    return absl::OkStatus();
  }
  if (value.dtype() != taken->prepared.dtype() || value.shape() != taken->prepared.shape()) {
    return absl::AbortedError("a variable got another shape while the save prepared");
  }
  taken->tensor = taken->prepared;
  return taken->accelerator->CopyInside(value, &taken->tensor);
}

Instant InstantTaker::Finish() {
  Instant instant;
  instant.refused = refused_;
  instant.lock_seconds = locks_.seconds();
  if (!ranges_.empty()) {
    image_->LeaveFormer();
    const auto kept = std::make_shared<KeptImage>();
    for (const Taken& each : taken_) {
      if (each.has_image) kept->tensors.push_back(each.tensor);
    }
    kept->image = std::move(image_);
    instant.image = std::shared_ptr<MemoryImage>(kept, kept->image.get());
    instant.method = options_.methods[method_];
  }
  for (size_t i = 0; i < values_.size(); ++i) {
    SourceValue& value = values_[i];
    if (value.variable == nullptr) continue;
    const Taken* const found = FindTaken(value.variable);
    if (!found->has_value) {
      instant.missing = i;
      return instant;
    }
    Refer(found->tensor, found->is_fixed, &value);
    value.dtype = value.tensor.dtype();
    value.shape = value.tensor.shape();
    if (found->has_image) value.image = instant.image.get();
    instant.has_device_copies = instant.has_device_copies || found->has_device_copy;
  }
  taken_.clear();
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
